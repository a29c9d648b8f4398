package technician

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/assembly"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/scan"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/line"
	"github.com/tallystick/tallystick/drivers/profile"
)

func newScanCommand() *cobra.Command {
	var asJSON bool
	var tcp, dir, rs485 string
	var first, last int
	var settings []string
	c := &cobra.Command{
		Use:   "scan [PORT]",
		Short: "Find the meters on a line and print their part of a site file",
		Long: `Tries the usual settings, Modbus unit numbers, and the wildcard addresses of
DL/T 645 and CJ/T 188, likely ones first, and prints lines: and meters: for a site
file on stdout. It only reads. A model is named only when two independent checks
speak for it. Ctrl-C stops it and prints what was found until then, as does a port
that is pulled out. Without PORT it lists the ports of this machine, opening none.

The agent, and every other program, must leave the port alone meanwhile.

` + cli.ExitCodes,
		Example: "  tallystick scan /dev/ttyUSB0\n  tallystick scan --tcp 192.168.1.50:4001 --last 10",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			lib, err := assembly.Library(dir)
			if err != nil {
				return err
			}
			if len(args) == 0 && tcp == "" {
				return listPorts(cmd.OutOrStdout(), cmd.ErrOrStderr())
			}
			if len(args) == 1 && tcp != "" || first < 1 || last > 247 || last < first {
				return &cli.Error{Exit: cli.Usage, Text: "expected one port, or --tcp, and units from 1 to 247", Hint: "run: tallystick scan --help"}
			}
			cfg := scan.Config{First: first, Last: last, Library: lib, Settings: scan.Usual(), Named: scan.UsualNamed()}
			if len(settings) > 0 {
				cfg.Settings, cfg.Named = nil, nil
				for _, s := range settings {
					p, err := drivers.ParseSettings(s)
					if err != nil {
						return cli.UsageError("--serial: %v", err)
					}
					cfg.Settings = append(cfg.Settings, p)
					if p.Parity == 'E' {
						cfg.Named = append(cfg.Named, p)
					}
				}
			}
			place := line.Config{Name: "scan", TCP: tcp}
			if tcp == "" {
				cfg.Serial = true
				place.Serial = &line.Serial{Path: args[0], Settings: cfg.Settings[0]}
				if place.Serial.RS485, err = switching(rs485); err != nil {
					return err
				}
			}
			bus := line.New(place)
			defer bus.Close()
			cfg.Line = bus
			return search(cmd, cfg, place, asJSON)
		},
	}
	c.Flags().StringVar(&tcp, "tcp", "", "scan behind a serial server or a meter with a network socket: HOST:PORT")
	c.Flags().IntVar(&first, "first", 1, "first Modbus unit number to try")
	c.Flags().IntVar(&last, "last", 32, "last Modbus unit number to try")
	c.Flags().StringArrayVar(&settings, "serial", nil, "settings to try, likely ones first (repeatable); default the eight usual ones")
	addRS485(c, &rs485)
	c.Flags().StringVar(&dir, "profiles", "", "directory of further device profiles")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a device on stdout instead of a site file")
	return c
}

// listPorts prints the serial ports of this machine without opening any.
func listPorts(out, stderr io.Writer) error {
	ports := line.Ports()
	if len(ports) == 0 {
		return &cli.Error{Exit: cli.Fault, Code: "E-201", Text: "this machine has no serial port", Hint: "plug the adapter in; dmesg | tail shows whether it was seen; behind a serial server: tallystick scan --tcp HOST:PORT"}
	}
	for _, p := range ports {
		used := ""
		if h := line.Holder(p); h != "" {
			used = "  used by " + h
		}
		fmt.Fprintf(out, "%s%s\n", p, used)
	}
	fmt.Fprintf(stderr, "choose one: tallystick scan %s\n", ports[0])
	return nil
}

// search runs one search, shows it, and prints what was found.
func search(cmd *cobra.Command, cfg scan.Config, place line.Config, asJSON bool) error {
	stderr := cmd.ErrOrStderr()
	show := &scanProgress{out: stderr, terminal: isTerminal(stderr), where: place.TCP}
	if place.Serial != nil {
		show.where = place.Serial.Path
	}
	cfg.Found, cfg.Progress = show.found, show.progress
	hits, stopped := scan.Run(cmd.Context(), cfg)
	show.clear()
	if asJSON {
		enc := json.NewEncoder(cmd.OutOrStdout())
		for _, h := range hits {
			settings := ""
			if h.Settings.Baud != 0 {
				settings = h.Settings.String()
			}
			if err := enc.Encode(scanned{h.Protocol, h.Address, settings, append([]string{}, h.Profiles...), h.Certain, h.Why}); err != nil {
				return err
			}
		}
	} else if len(hits) > 0 {
		if _, err := io.WriteString(cmd.OutOrStdout(), scanSection(place, cfg.Library, hits)); err != nil {
			return err
		}
	}
	if stopped != nil {
		return lineFault(stopped)
	}
	if len(hits) == 0 {
		return &cli.Error{Exit: cli.Fault, Code: "E-211", Text: fmt.Sprintf("nothing on %s answers at any of the settings tried", show.where),
			Hint: "swap the wires A and B, check that the meters have power and that this is the right port; then try more: --last 247, --serial \"1200 8E1\""}
	}
	return nil
}

// scanned is one device of --json.
type scanned struct {
	Protocol string   `json:"protocol"`
	Address  string   `json:"address"`
	Serial   string   `json:"serial"`
	Profiles []string `json:"profiles"` // best first
	Certain  bool     `json:"certain"`
	Why      string   `json:"why"`
}

// scanSection is the part of a site file for what was found. A device no
// profile fits is a comment.
func scanSection(place line.Config, lib *profile.Library, hits []scan.Hit) string {
	var b strings.Builder
	b.WriteString("lines:\n")
	own := hits[0].Settings
	if place.Serial == nil {
		fmt.Fprintf(&b, "  - {name: line-1, tcp: %q}\n", place.TCP)
	} else {
		rs485 := ""
		if r := place.Serial.RS485; r != nil {
			level := configs.Low
			if r.RTSOnSend {
				level = configs.High
			}
			rs485 = fmt.Sprintf(", rs485: {rts_on_send: %s}", level)
		}
		fmt.Fprintf(&b, "  - {name: line-1, port: %s, serial: %v%s}\n", place.Serial.Path, own, rs485)
	}
	b.WriteString("meters:\n")
	for i, h := range hits {
		lead := "  - "
		note := ""
		switch {
		case len(h.Profiles) == 0:
			lead, note = "  # ", "answers, but no profile fits: see CONTRIBUTING.md, \"Add a device profile\""
			h.Profiles = []string{"?"}
		case !h.Certain && len(h.Profiles) > 1:
			note = "one of these: " + strings.Join(h.Profiles[:min(3, len(h.Profiles))], ", ") + "; compare the values with the display"
		default:
			if p, err := lib.Get(h.Profiles[0]); err == nil {
				note = p.Name.ZH + " / " + p.Name.EN
			}
			if !h.Certain {
				note += "; probably: compare the values with the display"
			}
		}
		if h.Why != "" {
			note += " (" + h.Why + ")"
		}
		serial := ""
		if h.Settings != own {
			serial = fmt.Sprintf(", serial: %v", h.Settings)
		}
		interval := ""
		if h.Protocol == "cjt188" {
			interval = ", interval: 5m" // a battery meter's battery
		}
		fmt.Fprintf(&b, "%s{name: meter-%d, line: line-1, protocol: %s, address: %q, profile: %s%s%s} # %s\n",
			lead, i+1, h.Protocol, h.Address, h.Profiles[0], serial, interval, note)
	}
	return b.String()
}

// scanProgress shows a search: one moving line on a terminal, one line in ten
// seconds elsewhere; what is found stands above it and stays.
type scanProgress struct {
	out      io.Writer
	terminal bool
	where    string
	hits     int
	last     time.Time
}

func (p *scanProgress) progress(s scan.Progress) {
	pause := 10 * time.Second
	if p.terminal {
		pause = 100 * time.Millisecond
	}
	if time.Since(p.last) < pause {
		return
	}
	p.last = time.Now()
	at := ""
	if s.Settings.Baud != 0 {
		at = " " + s.Settings.String()
	}
	const width = 20
	full := width * s.Done / max(1, s.Total)
	text := fmt.Sprintf("scan %s%s %s %s%s found %d · %v left", p.where, at, s.What,
		strings.Repeat("█", full), strings.Repeat("░", width-full), p.hits, s.Left.Round(time.Second))
	if p.terminal {
		fmt.Fprintf(p.out, "\r\x1b[K%s", text)
		return
	}
	fmt.Fprintln(p.out, text)
}

func (p *scanProgress) found(h scan.Hit) {
	p.hits++
	p.clear()
	profile := "no profile fits"
	if len(h.Profiles) > 0 {
		profile = strings.Join(h.Profiles[:min(3, len(h.Profiles))], " or ")
	}
	at := ""
	if h.Settings.Baud != 0 {
		at = " at " + h.Settings.String()
	}
	fmt.Fprintf(p.out, "● %s %s%s: %s\n", h.Protocol, h.Address, at, profile)
}

// clear takes the moving line away.
func (p *scanProgress) clear() {
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
