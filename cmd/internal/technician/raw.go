package technician

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/diagnose"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/line"
)

// lineFlags name a line on the command line instead of in a site file.
type lineFlags struct {
	port, tcp, settings, rs485 string
}

func (f *lineFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.port, "port", "", "serial port: /dev/ttyUSB0")
	c.Flags().StringVar(&f.tcp, "tcp", "", "serial server or meter with a network socket: HOST:PORT")
	c.Flags().StringVar(&f.settings, "serial", configs.DefaultSettings, "settings of the port")
	addRS485(c, &f.rs485)
}

func addRS485(c *cobra.Command, level *string) {
	c.Flags().StringVar(level, "rs485", "", "the kernel switches the direction of the port; its RTS while sending, high or low, as the box's manual says")
}

// switching is what --rs485 asks for: nil where it is not given.
func switching(level string) (*line.RS485, error) {
	switch configs.Level(level) {
	case "":
		return nil, nil
	case configs.High, configs.Low:
		return &line.RS485{RTSOnSend: configs.Level(level) == configs.High}, nil
	}
	return nil, &cli.Error{Exit: cli.Usage, Text: fmt.Sprintf("--rs485: expected high or low, found %q", level), Hint: "the box's manual says which; leave it out where the adapter switches by itself"}
}

// lineFault puts a fault of a line no site file speaks of into a message for
// people. An error of another kind is returned as it is.
func lineFault(err error) error {
	if open, ok := errors.AsType[*line.OpenError](err); ok {
		e := diagnose.Port(&configs.Line{}, open)
		e.Text = open.Error()
		switch open.Reason {
		case line.Missing:
			e.Hint = "plug the adapter in, or name one of the ports listed"
		case line.Busy:
			e.Hint = "end the other program; if it is tallystick itself: tallystick service stop"
		case line.Permission:
		default:
			e.Hint = "name a serial port, with settings it supports as --serial"
		}
		return e
	}
	fault, ok := errors.AsType[*drivers.Fault](err)
	if !ok || fault.Kind != drivers.Disconnected {
		return err
	}
	return &cli.Error{Exit: cli.Environment, Code: "E-207", Text: fmt.Sprint(fault.Err), Hint: "check the cable of the adapter, or HOST:PORT, power and network of the serial server or meter"}
}

// line is the line meant. Its tap sees every exchange.
func (f *lineFlags) line(tap func(drivers.Frame)) (*line.Line, error) {
	if (f.port == "") == (f.tcp == "") {
		return nil, &cli.Error{Exit: cli.Usage, Text: "name one line: --port or --tcp", Hint: "for example --port /dev/ttyUSB0, or --tcp 192.168.1.50:4001"}
	}
	cfg := line.Config{Name: f.port + f.tcp, TCP: f.tcp, Tap: tap}
	if f.port != "" {
		s, err := drivers.ParseSettings(f.settings)
		if err != nil {
			return nil, cli.UsageError("--serial: %v", err)
		}
		rs485, err := switching(f.rs485)
		if err != nil {
			return nil, err
		}
		cfg.Serial = &line.Serial{Path: f.port, Settings: s, RS485: rs485}
	}
	return line.New(cfg), nil
}

func newRawCommand() *cobra.Command {
	var protocol string
	var asJSON bool
	var timeout time.Duration
	var place lineFlags
	c := &cobra.Command{
		Use:   "raw --port PORT --protocol PROTOCOL HEX...",
		Short: "Send one read request, byte for byte, and show what comes back",
		Long: `Sends one request given in hexadecimal and shows every byte that comes back and
what it means. The request must be whole, checksum included, and a read: anything
that would change something in a meter is refused. The agent must not run on the
same port meanwhile.

` + cli.ExitCodes,
		Example: "  tallystick raw --port /dev/ttyUSB0 --protocol modbus-rtu 01 04 00 00 00 02 71 CB",
		Args:    someHex,
		RunE: func(cmd *cobra.Command, args []string) error {
			codec, err := codecOf(protocol)
			if err != nil {
				return err
			}
			request, err := codec.parse(args)
			if err != nil {
				return err
			}
			if err := codec.mayBeSent(request); err != nil {
				return err
			}
			var reply []byte
			bus, err := place.line(func(f drivers.Frame) { reply = slices.Clone(f.Reply) })
			if err != nil {
				return err
			}
			defer bus.Close()
			return raw(cmd, codec, bus, request, &reply, timeout, asJSON)
		},
	}
	c.Flags().StringVarP(&protocol, "protocol", "p", string(configs.ModbusRTU), "what the meter speaks: "+protocolWords())
	c.Flags().DurationVar(&timeout, "timeout", 2*time.Second, "how long to wait for the reply")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object on stdout")
	place.add(c)
	return c
}

// mayBeSent refuses everything that is not one whole request to read and
// nothing but that: what stands behind it would be sent as well.
func (c codec) mayBeSent(request []byte) error {
	d := c.describe(request)
	switch {
	case !d.Valid:
		return &cli.Error{Exit: cli.Usage, Text: fmt.Sprintf("this is no %s frame: %s", c.protocol, d.Reason), Hint: "nothing was sent; compare the bytes with: tallystick decode"}
	case d.Behind > 0:
		return &cli.Error{Exit: cli.Usage, Text: fmt.Sprintf("%d bytes stand behind the request: %s", d.Behind, d.Text), Hint: "nothing was sent; send one request at a time"}
	case d.Direction != "request" || d.Write || !slices.Contains(c.reads, d.Control) || d.Skipped > 0:
		return &cli.Error{Exit: cli.Usage, Text: fmt.Sprintf("this is no request to read: %s", d.Text), Hint: "nothing was sent; this program only reads meters"}
	}
	return nil
}

// raw sends request and shows what came back. reply is where the line's tap
// puts it.
func raw(cmd *cobra.Command, c codec, bus *line.Line, request []byte, reply *[]byte, timeout time.Duration, asJSON bool) error {
	answer := func(b []byte) (skip, size int) { // the first valid response, and what stands before it
		if d := c.describe(b); d.Valid && d.Direction == "response" {
			return 0, len(b)
		}
		return 0, 0
	}
	_, err := bus.Exchange(cmd.Context(), drivers.Exchange{Request: request, Timeout: timeout, Match: answer})
	var fault *drivers.Fault
	if errors.As(err, &fault) && fault.Kind != drivers.BadFrame {
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if fault.Kind == drivers.Timeout {
			return &cli.Error{Exit: cli.Fault, Code: "E-204", Text: fmt.Sprintf("no byte came back: %v", fault), Hint: "check the address in the request, --serial, the wires and the power of the meter; tallystick scan tries the usual settings"}
		}
		return lineFault(err)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "> % X\n< % X\n", request, *reply)
	d := c.describe(*reply)
	if err := printFrame(cmd.OutOrStdout(), d, asJSON); err != nil {
		return err
	}
	if !d.Valid {
		return &cli.Error{Exit: cli.Fault, Code: "E-205", Text: "something answers, but not with a valid reply: " + d.Reason, Hint: "speed or parity may differ (--serial), or two devices share one address"}
	}
	return nil
}
