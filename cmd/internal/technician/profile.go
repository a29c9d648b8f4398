package technician

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/assembly"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/configs/strict"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/cjt188"
	"github.com/tallystick/tallystick/drivers/dlt645"
	"github.com/tallystick/tallystick/drivers/iec62056"
	"github.com/tallystick/tallystick/drivers/modbus"
	"github.com/tallystick/tallystick/drivers/profile"
)

func newProfileCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{Use: "profile", Short: "The devices known, and a check of profiles of your own"}
	list := &cobra.Command{
		Use: "list", Short: "List the device profiles", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			lib, err := library(cmd.ErrOrStderr(), dir)
			if err != nil {
				return err
			}
			return listProfiles(cmd.OutOrStdout(), lib, asJSON)
		},
	}
	show := &cobra.Command{
		Use: "show ID", Short: "Show all that is known about one device", Args: cobra.ExactArgs(1),
		Example: "  tallystick profile show eastron-sdm630",
		RunE: func(cmd *cobra.Command, args []string) error {
			lib, err := library(cmd.ErrOrStderr(), dir)
			if err != nil {
				return err
			}
			p, err := lib.Get(args[0])
			if err != nil {
				return &cli.Error{Exit: cli.Usage, Text: err.Error(), Hint: "run: tallystick profile list"}
			}
			s, err := newShownProfile(p)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(s)
			}
			return s.print(cmd.OutOrStdout())
		},
	}
	for _, c := range []*cobra.Command{list, show} {
		c.Flags().StringVar(&dir, "profiles", "", "directory of further device profiles")
		c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	}
	c.AddCommand(list, show, &cobra.Command{
		Use: "check FILE|DIRECTORY...", Short: "Check profiles of your own: all faults at once, each with line and column",
		Long: `Checks device profiles as a site file's profiles: directory would be, and lists
every fault of every file at once. Of a directory the files *.yaml are checked.

` + cli.ExitCodes,
		Example: "  tallystick profile check acme-m3.yaml",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := profileFiles(args)
			if err != nil {
				return err
			}
			return checkProfiles(cmd.OutOrStdout(), cmd.ErrOrStderr(), files)
		},
	})
	return c
}

// library is the built-in profiles and those in dir, whose faults are on stderr
// when it returns an error.
func library(stderr io.Writer, dir string) (*profile.Library, error) {
	lib, err := assembly.Library(dir)
	var faults profile.Faults
	if errors.As(err, &faults) {
		fmt.Fprintln(stderr, faults)
		return nil, &cli.Error{Exit: cli.Usage, Text: fmt.Sprintf("%s has %s, listed above", dir, cli.Count(len(faults), "fault")), Hint: "correct the files, or run: tallystick profile check FILE..."}
	}
	return lib, err
}

func listProfiles(out io.Writer, lib *profile.Library, asJSON bool) error {
	type entry struct {
		ID       string `json:"id"`
		Class    string `json:"class"`
		Protocol string `json:"protocol"`
		ZH       string `json:"name_zh"`
		EN       string `json:"name_en"`
		Vendor   string `json:"vendor"`
	}
	rows := [][]string{{"ID", "CLASS", "PROTOCOL", "VENDOR", "名称", "NAME"}}
	entries := []entry{}
	for _, id := range lib.IDs() {
		p, err := lib.Get(id)
		if err != nil {
			return err
		}
		entries = append(entries, entry{p.ID, p.Class, p.Protocol, p.Name.ZH, p.Name.EN, p.Vendor})
		rows = append(rows, []string{p.ID, p.Class, p.Protocol, p.Vendor, p.Name.ZH, p.Name.EN})
	}
	if asJSON {
		return json.NewEncoder(out).Encode(entries)
	}
	cells := runewidth.Condition{} // not the terminal's idea of ambiguous widths
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], cells.StringWidth(cell))
		}
	}
	for _, row := range rows {
		for i, cell := range row[:len(row)-1] {
			row[i] = cells.FillRight(cell, widths[i])
		}
		if _, err := fmt.Fprintln(out, strings.Join(row, "  ")); err != nil {
			return err
		}
	}
	return nil
}

// shownProfile is a profile as profile show --json prints it. Numbers that must
// stay exact are text.
type shownProfile struct {
	ID           string          `json:"id"`
	Version      int             `json:"version"`
	ZH           string          `json:"name_zh"`
	EN           string          `json:"name_en"`
	Vendor       string          `json:"vendor"`
	Class        string          `json:"class"`
	Protocol     string          `json:"protocol"`
	Serial       string          `json:"serial"`
	Unit         uint8           `json:"unit,omitempty"`
	Secondary    bool            `json:"secondary"`
	MaxRegisters int             `json:"max_registers,omitempty"`
	Timeout      string          `json:"timeout"`
	Gap          string          `json:"gap,omitempty"`
	Ranges       []string        `json:"ranges,omitempty"`
	Blocks       []string        `json:"blocks,omitempty"`
	Wakeup       int             `json:"wakeup,omitempty"`
	MeterType    uint8           `json:"meter_type,omitempty"`
	Identity     string          `json:"identity,omitempty"` // where the serial number stands
	Requests     []shownRequest  `json:"requests,omitempty"` // Modbus: of one poll, when a site does not choose
	Quantities   []shownQuantity `json:"quantities"`
	Caveats      []string        `json:"caveats"`
	Sources      []string        `json:"sources"`
	File         string          `json:"file,omitempty"` // none: built in
	SHA256       string          `json:"sha256"`
}

// shownRequest is one request and its bytes on a serial line.
type shownRequest struct {
	Text  string `json:"text"`
	Frame string `json:"frame"`
}

// shownQuantity is one register or item. All but the first four may be empty.
type shownQuantity struct {
	Quantity   string `json:"quantity"`
	Unit       string `json:"unit"`
	Resolution string `json:"resolution"`
	Default    bool   `json:"default"`
	At         string `json:"at"`     // "input 0x0048", "901F part 1"
	Layout     string `json:"layout"` // "uint32 CDAB x0.01", "XXXXXX.XX"
	Min        string `json:"min,omitempty"`
	Max        string `json:"max,omitempty"`
	Counter    bool   `json:"counter,omitempty"`
	Modulus    string `json:"modulus,omitempty"`
	MaxRate    string `json:"max_rate_per_hour,omitempty"`
	Frozen     string `json:"frozen_after,omitempty"`
	Refresh    string `json:"refresh,omitempty"`
}

func newShownProfile(p *profile.Profile) (*shownProfile, error) {
	s := &shownProfile{
		ID: p.ID, Version: p.Version, ZH: p.Name.ZH, EN: p.Name.EN, Vendor: p.Vendor, Class: p.Class, Protocol: p.Protocol,
		Serial: p.Serial, Unit: p.Unit, Secondary: p.Secondary, Timeout: p.Timeout.String(),
		Blocks: p.Blocks, Wakeup: p.Wakeup, MeterType: p.MeterType,
		Caveats: append([]string{}, p.Caveats...), Sources: p.Sources, File: p.File, SHA256: hex.EncodeToString(p.Hash[:]),
	}
	if p.Gap > 0 {
		s.Gap = p.Gap.String()
	}
	for _, r := range p.Ranges {
		s.Ranges = append(s.Ranges, fmt.Sprintf("%s 0x%04X-0x%04X", profile.TableWord(r.Table), r.Address, r.Last))
	}
	if id := p.Identity; id != nil && id.ID != "" {
		s.Identity = id.ID
	} else if id != nil {
		s.Identity = fmt.Sprintf("%s 0x%04X-0x%04X %s", profile.TableWord(id.Table), id.Address, id.Last, id.Type)
	}
	if p.Protocol == profile.Modbus {
		s.MaxRegisters = p.MaxRegisters
		requests, err := planned(p)
		if err != nil {
			return nil, err
		}
		s.Requests = requests
	}
	for i, r := range p.All() {
		layout := profile.TypeWord(r.Type)
		if r.Order != drivers.ABCD {
			layout += " " + profile.OrderWord(r.Order)
		}
		if r.Mask != 0 {
			layout += fmt.Sprintf(" mask 0x%04X", r.Mask)
		}
		if r.Scale != 0 {
			layout += " x" + drivers.Decimal{Coef: 1, Exp: r.Scale}.String()
		}
		q := newShownQuantity(p, r.Quantity, r.Limited, r.Min, r.Max)
		q.Default, q.At, q.Layout = i < len(p.Registers), fmt.Sprintf("%s 0x%04X", profile.TableWord(r.Table), r.Address), layout
		s.Quantities = append(s.Quantities, q)
	}
	for i, it := range p.AllItems() {
		q := newShownQuantity(p, it.Quantity, it.Limited, it.Min, it.Max)
		q.Default, q.At, q.Layout = i < len(p.Items), it.ID, it.Format
		if it.Part > 0 {
			q.At += fmt.Sprintf(" part %d", it.Part)
		}
		s.Quantities = append(s.Quantities, q)
	}
	return s, nil
}

func newShownQuantity(p *profile.Profile, q drivers.Quantity, limited bool, low, high int64) shownQuantity {
	exact := func(coef int64) string { return drivers.Decimal{Coef: coef, Exp: q.Exp}.String() }
	s := shownQuantity{Quantity: q.Name, Unit: q.Unit, Resolution: exact(1)}
	if limited {
		s.Min, s.Max = exact(low), exact(high)
	}
	life := p.Lives[q.Name]
	s.Counter = life.Counter
	if life.Modulus > 0 {
		s.Modulus = exact(life.Modulus)
	}
	if life.MaxRate > 0 {
		s.MaxRate = exact(life.MaxRate)
	}
	if life.Frozen > 0 {
		s.Frozen = life.Frozen.String()
	}
	if life.Refresh > 0 {
		s.Refresh = life.Refresh.String()
	}
	return s
}

// print shows s to people.
func (s *shownProfile) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "%s, version %d\n%s\n%s\n\n", s.ID, s.Version, s.ZH, s.EN)
	row := func(key, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", key, fmt.Sprintf(format, args...)) }
	row("vendor", "%s", s.Vendor)
	row("class", "%s", s.Class)
	row("protocol", "%s", s.Protocol)
	factory := s.Serial
	if s.Unit > 0 {
		factory += fmt.Sprintf(", unit %d", s.Unit)
	}
	row("as it leaves the factory", "%s", factory)
	side := "primary: no CT or PT ratio in the site file"
	if s.Secondary {
		side = "secondary: the site file gives CT and PT ratios"
	}
	row("side of transformers", "%s", side)
	row("time for a reply", "%s", s.Timeout)
	if s.Gap != "" {
		row("pause between requests", "%s", s.Gap)
	}
	if s.MaxRegisters > 0 {
		row("most registers a request", "%d", s.MaxRegisters)
	}
	if s.MeterType > 0 {
		row("meter type", "0x%02X", s.MeterType)
	}
	if s.Identity != "" {
		row("serial number at", "%s", s.Identity)
	}
	if len(s.Blocks) > 0 {
		row("blocks answered", "%s", strings.Join(s.Blocks, ", "))
	}
	for i, r := range s.Ranges {
		key := ""
		if i == 0 {
			key = "ranges answered whole"
		}
		row(key, "%s", r)
	}
	for i, r := range s.Requests {
		key := ""
		if i == 0 {
			key = "requests a poll: " + fmt.Sprint(len(s.Requests))
		}
		row(key, "%s: %s", r.Text, r.Frame)
	}
	file := s.File
	if file == "" {
		file = "built in"
	}
	row("file", "%s", file)
	row("SHA-256", "%s", s.SHA256)
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprint(w, "\n QUANTITY\tUNIT\tSTEP\tAT\tLAYOUT\tPLAUSIBLE\tCOUNTER\tMOST AN HOUR\n")
	optional := false
	for _, q := range s.Quantities {
		mark, limits, counter := " ", "", ""
		if !q.Default {
			mark, optional = "-", true
		}
		if q.Min != "" {
			limits = q.Min + " to " + q.Max
		}
		if q.Counter {
			counter = "yes"
		}
		if q.Modulus != "" {
			counter = "to " + q.Modulus
		}
		fmt.Fprintln(w, strings.Join([]string{mark + q.Quantity, q.Unit, q.Resolution, q.At, q.Layout, limits, counter, q.MaxRate}, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if optional {
		fmt.Fprint(out, "\n - is read only when a site file asks for it: quantities: [...]\n")
	}
	fmt.Fprintf(out, "\nWhat is not certain, what to look out for:\n - %s\nWhere this comes from:\n - %s\n",
		strings.Join(s.Caveats, "\n - "), strings.Join(s.Sources, "\n - "))
	return nil
}

// planned is what one poll of a Modbus profile asks, of the unit the device
// leaves the factory as.
func planned(p *profile.Profile) (requests []shownRequest, err error) {
	asked := new(recorder)
	m, err := modbus.New(modbus.Config{Name: p.ID, Unit: p.Unit, Registers: p.Registers, Ranges: p.Ranges, MaxRegisters: p.MaxRegisters}, asked)
	if err != nil {
		return nil, err
	}
	plan := m.Requests()
	_ = m.Read(context.Background(), make([]drivers.Reading, len(p.Registers))) // each is refused
	for i, frame := range asked.frames {
		requests = append(requests, shownRequest{plan[i].String(), fmt.Sprintf("% X", frame)})
	}
	return requests, nil
}

// recorder is a line that keeps what it is to send.
type recorder struct{ frames [][]byte }

// Exchange implements drivers.Exchanger.
func (r *recorder) Exchange(_ context.Context, x drivers.Exchange) ([]byte, error) {
	r.frames = append(r.frames, slices.Clone(x.Request))
	return nil, &drivers.Fault{Kind: drivers.Refused, Err: errors.New("not sent")}
}

// readable has the driver of p's protocol say which of its quantities it cannot
// read.
func readable(p *profile.Profile) (err error) {
	items := p.AllItems()
	switch p.Protocol {
	case profile.Modbus:
		_, err = modbus.New(modbus.Config{Name: p.ID, Unit: p.Unit, Registers: p.All(), Ranges: p.Ranges, MaxRegisters: p.MaxRegisters}, nil)
	case "dlt645-2007":
		_, err = dlt645.New(dlt645.Config{Name: p.ID, Address: "1", Version: dlt645.V2007, Items: items, Blocks: p.Blocks}, nil)
	case "dlt645-1997":
		_, err = dlt645.New(dlt645.Config{Name: p.ID, Address: "1", Version: dlt645.V1997, Items: items, Blocks: p.Blocks}, nil)
	case "cjt188":
		_, err = cjt188.New(cjt188.Config{Name: p.ID, Address: "00000000000001", Type: p.MeterType, Items: items}, nil)
	case "iec62056-21":
		_, err = iec62056.New(iec62056.Config{Name: p.ID, Items: items}, nil)
	}
	return err
}

// profileFiles are the files named, and in the place of a directory those in it
// that are called *.yaml.
func profileFiles(args []string) (files []string, err error) {
	for _, arg := range args {
		if info, err := os.Stat(arg); err != nil || !info.IsDir() {
			files = append(files, arg)
			continue
		}
		entries, err := os.ReadDir(arg)
		if err != nil {
			return nil, err
		}
		before := len(files)
		for _, e := range entries {
			if !e.IsDir() && filepath.Ext(e.Name()) == ".yaml" {
				files = append(files, filepath.Join(arg, e.Name()))
			}
		}
		if len(files) == before {
			return nil, &cli.Error{Exit: cli.Usage, Text: fmt.Sprintf("directory %s has no profile: no file is called *.yaml", arg), Hint: "tallystick profile show eastron-sdm630 is an example of one"}
		}
	}
	return files, nil
}

func checkProfiles(out, stderr io.Writer, files []string) error {
	lib := profile.Builtin()
	found := 0
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		p, err := lib.Add(file, content)
		var faults profile.Faults
		if errors.As(err, &faults); err == nil {
			if err := readable(p); err != nil {
				what := strings.TrimPrefix(err.Error(), "meter "+p.ID+": ")
				faults = profile.Faults{strict.Pos{File: file}.Fault(strict.Problem{Code: strict.CodeValue, Msg: what})}
			}
		}
		if found += len(faults); len(faults) > 0 {
			if err := strict.Render(stderr, content, faults); err != nil {
				return err
			}
			continue
		}
		text := fmt.Sprintf("%s: ok, %s, quantities: %d, read by default: %d", file, p.ID, len(p.Quantities()), len(p.Registers)+len(p.Items))
		if p.Protocol == profile.Modbus {
			requests, err := planned(p)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(", requests a poll: %d", len(requests))
		}
		if _, err := fmt.Fprintln(out, text); err != nil {
			return err
		}
	}
	if found > 0 {
		return &cli.Error{Exit: cli.Usage, Text: cli.Count(found, "fault") + ", listed above", Hint: "README.md in drivers/profile says what each key means; tallystick profile show eastron-sdm630 is an example"}
	}
	return nil
}
