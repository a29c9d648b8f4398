package technician

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/cjt188"
	"github.com/tallystick/tallystick/drivers/dlt645"
	"github.com/tallystick/tallystick/drivers/iec62056"
	"github.com/tallystick/tallystick/drivers/modbus"
)

// codec is one protocol as decode and raw see it.
type codec struct {
	protocol configs.Protocol
	describe func([]byte) drivers.Description
	reads    []string // control codes that change nothing in a meter; all else raw refuses
}

func codecs() []codec {
	framed := func(f modbus.Framing) func([]byte) drivers.Description {
		return func(b []byte) drivers.Description { return modbus.Describe(f, b) }
	}
	edition := func(v dlt645.Version) func([]byte) drivers.Description {
		return func(b []byte) drivers.Description { return dlt645.Describe(v, b) }
	}
	registers := []string{"01", "02", "03", "04"}
	return []codec{
		{configs.ModbusRTU, framed(modbus.RTU), registers},
		{configs.ModbusASCII, framed(modbus.ASCII), registers},
		{configs.ModbusTCP, framed(modbus.TCP), registers},
		{configs.DLT645v2007, edition(dlt645.V2007), []string{"11", "12", "13"}},
		{configs.DLT645v1997, edition(dlt645.V1997), []string{"01", "02"}},
		{configs.CJT188, cjt188.Describe, []string{"01", "03"}},
		{configs.IEC62056, iec62056.Describe, []string{""}}, // the sign-on; all else has a control
	}
}

// codecOf finds the codec a flag names.
func codecOf(name string) (codec, error) {
	all := codecs()
	i := slices.IndexFunc(all, func(c codec) bool { return string(c.protocol) == name })
	if i < 0 {
		var names []string
		for _, c := range all {
			names = append(names, string(c.protocol))
		}
		text := fmt.Sprintf("--protocol: %q is not a protocol", name)
		if name == "" {
			text = "--protocol is missing: bytes alone do not say what they speak"
		}
		return codec{}, &cli.Error{Exit: cli.Usage, Text: text, Hint: "choose one of " + strings.Join(names, ", ")}
	}
	return all[i], nil
}

// frame is a drivers.Description as --json prints it. Fields are there also
// when they say nothing, so that scripts need not ask.
type frame struct {
	Protocol    string       `json:"protocol"`
	Valid       bool         `json:"valid"`
	Reason      string       `json:"reason,omitempty"`
	Direction   string       `json:"direction"`
	Address     string       `json:"address"`
	Control     string       `json:"control"`
	DataID      string       `json:"data_id"`
	Write       bool         `json:"write"`
	MoreFollows bool         `json:"more_follows"`
	Error       *refusal     `json:"error"`
	Values      []frameValue `json:"values"`
	Text        string       `json:"text"`
	Wakeup      int          `json:"wakeup"`
	Skipped     int          `json:"skipped"`
}

type refusal struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// frameValue is null where the meter says that it has no value.
type frameValue struct {
	Quantity string  `json:"quantity"`
	Value    *string `json:"value"`
	Unit     string  `json:"unit"`
}

func newFrame(d drivers.Description) frame {
	f := frame{
		Protocol: d.Protocol, Valid: d.Valid, Reason: d.Reason, Direction: d.Direction,
		Address: d.Address, Control: d.Control, DataID: d.DataID, Write: d.Write, MoreFollows: d.MoreFollows,
		Values: []frameValue{}, Text: d.Text, Wakeup: d.Wakeup, Skipped: d.Skipped,
	}
	if d.Error != nil {
		f.Error = &refusal{d.Error.Code, d.Error.Text}
	}
	for _, v := range d.Values {
		value := &v.Value
		if v.Value == "" {
			value = nil
		}
		f.Values = append(f.Values, frameValue{v.Quantity, value, v.Unit})
	}
	return f
}

func newDecodeCommand() *cobra.Command {
	var protocol string
	var asJSON bool
	c := &cobra.Command{
		Use:   "decode --protocol PROTOCOL HEX...",
		Short: "Say what one frame means",
		Long: `Says what one frame means, request or response, without any meter. Spaces in
HEX are allowed; wake-up bytes and noise before the frame are skipped and counted.
A line of Modbus ASCII or IEC 62056-21 may stand as it is: :010300000004F8

` + cli.ExitCodes,
		Example: "  tallystick decode --protocol modbus-rtu 01 03 04 43 66 4C CD FA FD\n" +
			"  tallystick decode --protocol dlt645-2007 --json 'FE FE FE FE 68 AA AA AA AA AA AA 68 13 00 DF 16'",
		Args: someHex,
		RunE: func(cmd *cobra.Command, args []string) error {
			codec, err := codecOf(protocol)
			if err != nil {
				return err
			}
			b, err := codec.parse(args)
			if err != nil {
				return err
			}
			d := codec.describe(b)
			if err := printFrame(cmd.OutOrStdout(), d, asJSON); err != nil {
				return err
			}
			if !d.Valid {
				return &cli.Error{Exit: cli.Fault, Hint: otherwise(b)}
			}
			return nil
		},
	}
	c.Flags().StringVarP(&protocol, "protocol", "p", "", "what the frame speaks: "+protocolWords())
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object on stdout")
	return c
}

// otherwise says as what else b is a sound frame, "" where it is none.
func otherwise(b []byte) string {
	for _, c := range codecs() {
		if d := c.describe(b); d.Valid && d.Skipped == 0 && d.Behind == 0 {
			return fmt.Sprintf("with --protocol %s it is one: %s", c.protocol, d.Text)
		}
	}
	return ""
}

// someHex wants a frame on the command line.
func someHex(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return &cli.Error{Exit: cli.Usage, Text: "HEX is missing: the bytes of the frame", Hint: "write them as in 01 03 00 00 00 02 C4 0B"}
	}
	return nil
}

func protocolWords() string {
	var words []string
	for _, c := range codecs() {
		words = append(words, string(c.protocol))
	}
	return strings.Join(words, ", ")
}

// parse reads a frame as people write it: bytes in hexadecimal or, for the two
// protocols of characters, the line itself.
func (c codec) parse(args []string) ([]byte, error) {
	line := strings.TrimSpace(strings.Join(args, " "))
	if c.protocol == configs.ModbusASCII && strings.HasPrefix(line, ":") || c.protocol == configs.IEC62056 && strings.HasPrefix(line, "/") {
		return []byte(line + "\r\n"), nil
	}
	return parseHex(args)
}

// parseHex reads bytes written in hexadecimal, with or without spaces, 0x and
// commas.
func parseHex(args []string) ([]byte, error) {
	text := strings.NewReplacer(" ", "", "\t", "", "\n", "", "\r", "", ",", "", ":", "", "-", "", "0x", "", "0X", "").Replace(strings.Join(args, " "))
	b, err := hex.DecodeString(text)
	if err != nil || len(b) == 0 {
		return nil, &cli.Error{Exit: cli.Usage, Text: fmt.Sprintf("HEX: expected bytes in hexadecimal, two digits each, found %q", strings.Join(args, " ")),
			Hint: "write them as in 01 03 00 00 00 02 C4 0B"}
	}
	return b, nil
}

// printFrame prints what d says as JSON or for people.
func printFrame(out io.Writer, d drivers.Description, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(newFrame(d))
	}
	if !d.Valid {
		_, err := fmt.Fprintf(out, "%s: not a valid frame: %s\n", d.Protocol, d.Reason)
		return err
	}
	lines := [][2]string{{"protocol", d.Protocol}, {"direction", d.Direction}, {"address", d.Address}, {"control", d.Control}, {"data id", d.DataID}}
	if d.Write {
		lines = append(lines, [2]string{"writes", "yes: this agent never sends it"})
	}
	if d.MoreFollows {
		lines = append(lines, [2]string{"more", "a further frame holds the rest"})
	}
	if d.Error != nil {
		lines = append(lines, [2]string{"refused", d.Error.Code + " " + d.Error.Text})
	}
	for _, v := range d.Values {
		lines = append(lines, [2]string{v.Quantity, strings.TrimSpace(v.Value + " " + v.Unit)})
	}
	if d.Wakeup+d.Skipped > 0 {
		lines = append(lines, [2]string{"skipped", fmt.Sprintf("%d wake-up bytes, %d others", d.Wakeup, d.Skipped)})
	}
	lines = append(lines, [2]string{"means", d.Text})
	for _, l := range lines {
		if l[1] == "" {
			continue
		}
		if _, err := fmt.Fprintf(out, "%-22s %s\n", l[0], l[1]); err != nil {
			return err
		}
	}
	return nil
}
