package profile

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/cjt188"
	"github.com/tallystick/tallystick/drivers/dlt645"
	"github.com/tallystick/tallystick/drivers/drivertest"
	"github.com/tallystick/tallystick/drivers/iec62056"
	"github.com/tallystick/tallystick/drivers/modbus"
)

// A transcript is what went over the wire when a device was read, and what the
// device showed meanwhile. README.md describes the format.
type transcript struct {
	Address   string // it was asked at; "" stands for the profile's unit
	Exchanges []exchange
	Want      []expectation
	Marked    bool // says whether it was recorded or computed
}

type exchange struct {
	line           int
	request, reply []byte
	used           bool
}

type expectation struct {
	line           int
	quantity, rest string // "230.1 V", "absent"
}

// parseTranscript reads the text of a transcript. Its errors name file and line.
func parseTranscript(file, text string) (*transcript, error) {
	tr := &transcript{}
	var errs []error
	for i, line := range strings.Split(text, "\n") {
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("%s:%d: %s", file, i+1, fmt.Sprintf(format, args...)))
		}
		line = strings.TrimSpace(line)
		if comment, ok := strings.CutPrefix(line, "#"); ok {
			tr.Marked = tr.Marked || strings.Contains(comment, "recorded")
			continue
		}
		if line == "" {
			continue
		}
		rest := strings.TrimSpace(line[1:])
		switch line[0] {
		case '@':
			tr.Address = rest
		case '>', '<':
			b, err := hex.DecodeString(strings.ReplaceAll(rest, " ", ""))
			switch {
			case err != nil:
				bad("%v", err)
			case line[0] == '>':
				tr.Exchanges = append(tr.Exchanges, exchange{line: i + 1, request: b})
			case len(tr.Exchanges) == 0:
				bad("a reply before any request")
			default:
				x := &tr.Exchanges[len(tr.Exchanges)-1]
				x.reply = append(x.reply, b...)
			}
		case '=':
			quantity, value, _ := strings.Cut(rest, " ")
			if value = strings.TrimSpace(value); value == "" {
				bad("expected = quantity value unit")
			}
			tr.Want = append(tr.Want, expectation{i + 1, quantity, value})
		default:
			bad("expected a line that begins with # @ > < or =, found %q", line)
		}
	}
	return tr, errors.Join(errs...)
}

// device is a driver of any protocol.
type device interface {
	Read(context.Context, []drivers.Reading) error
}

// constructors build the driver for what a transcript names.
var constructors = map[string]func(p *Profile, address string, registers []drivers.Register, items []drivers.Item, line drivers.Exchanger) (device, error){
	Modbus: func(p *Profile, address string, registers []drivers.Register, _ []drivers.Item, line drivers.Exchanger) (device, error) {
		unit := uint64(p.Unit)
		if address != "" {
			var err error
			if unit, err = strconv.ParseUint(address, 10, 8); err != nil {
				return nil, err
			}
		}
		return modbus.New(modbus.Config{Name: p.ID, Unit: uint8(unit), Registers: registers, Ranges: p.Ranges, MaxRegisters: p.MaxRegisters}, line)
	},
	"dlt645-2007": func(p *Profile, address string, _ []drivers.Register, items []drivers.Item, line drivers.Exchanger) (device, error) {
		return dlt645.New(dlt645.Config{Name: p.ID, Address: address, Version: dlt645.V2007, Items: items, Blocks: p.Blocks, Wakeup: p.Wakeup}, line)
	},
	"dlt645-1997": func(p *Profile, address string, _ []drivers.Register, items []drivers.Item, line drivers.Exchanger) (device, error) {
		return dlt645.New(dlt645.Config{Name: p.ID, Address: address, Version: dlt645.V1997, Items: items, Blocks: p.Blocks, Wakeup: p.Wakeup}, line)
	},
	"cjt188": func(p *Profile, address string, _ []drivers.Register, items []drivers.Item, line drivers.Exchanger) (device, error) {
		return cjt188.New(cjt188.Config{Name: p.ID, Address: address, Type: p.MeterType, Items: items, Wakeup: p.Wakeup}, line)
	},
	"iec62056-21": func(p *Profile, address string, _ []drivers.Register, items []drivers.Item, line drivers.Exchanger) (device, error) {
		return iec62056.New(iec62056.Config{Name: p.ID, Address: address, Items: items, Timeout: p.Timeout}, line)
	},
}

// replay reads the device of p from the transcript and says what differs.
func replay(p *Profile, file, text string) (faults []string) {
	fault := func(line int, format string, args ...any) {
		faults = append(faults, fmt.Sprintf("%s:%d: %s", file, line, fmt.Sprintf(format, args...)))
	}
	tr, err := parseTranscript(file, text)
	if err != nil {
		return []string{err.Error()}
	}
	if !tr.Marked {
		fault(1, "say in a comment whether this was recorded (when, from what) or computed, not recorded")
	}

	// What is read is what the transcript has a value for, and that must be all
	// that is read by default.
	wanted := func(name string) bool {
		return slices.ContainsFunc(tr.Want, func(e expectation) bool { return e.quantity == name })
	}
	registers := slices.DeleteFunc(p.All(), func(r drivers.Register) bool { return !wanted(r.Name) })
	items := slices.DeleteFunc(p.AllItems(), func(i drivers.Item) bool { return !wanted(i.Name) })
	var quantities []drivers.Quantity
	for _, r := range registers {
		quantities = append(quantities, r.Quantity)
	}
	for _, i := range items {
		quantities = append(quantities, i.Quantity)
	}
	for _, q := range p.Quantities()[:len(p.Registers)+len(p.Items)] {
		if !wanted(q) {
			fault(1, "no value for %s, which is read by default", q)
		}
	}

	line := &drivertest.Line{Reply: func(request []byte) ([]byte, error) {
		var reply []byte
		known := false
		for i := range tr.Exchanges { // the first that was not asked yet, or else the last
			x := &tr.Exchanges[i]
			if !slices.Equal(awake(x.request), awake(request)) {
				continue
			}
			reply, known = x.reply, true
			if !x.used {
				x.used = true
				break
			}
		}
		if !known {
			fault(1, "not in the transcript: > % X", request)
		}
		return reply, nil
	}}
	d, err := constructors[p.Protocol](p, tr.Address, registers, items, line)
	if err != nil {
		return append(faults, fmt.Sprintf("%s: %v", file, err))
	}
	readings := make([]drivers.Reading, len(quantities))
	readErr := d.Read(context.Background(), readings)
	for _, x := range tr.Exchanges {
		if !x.used {
			fault(x.line, "not asked: > % X", x.request)
		}
	}
	for _, e := range tr.Want {
		i := slices.IndexFunc(quantities, func(q drivers.Quantity) bool { return q.Name == e.quantity })
		if i < 0 {
			fault(e.line, "the profile has no %s", e.quantity)
			continue
		}
		got := strings.ReplaceAll(readings[i].Quality.String(), " ", "-")
		if readings[i].Quality.HasValue() {
			value := strings.TrimSpace(drivers.Decimal{Coef: readings[i].Coef, Exp: quantities[i].Exp}.String() + " " + quantities[i].Unit)
			got = strings.TrimPrefix(got+" "+value, "ok ")
		}
		if got != e.rest {
			fault(e.line, "%s is read as %s, expected %s", e.quantity, got, e.rest)
			if !readings[i].Quality.HasValue() && readErr != nil {
				fault(e.line, "%v", readErr)
			}
		}
	}
	return faults
}

// awake is a request without the wake-up bytes before it.
func awake(request []byte) []byte {
	for len(request) > 0 && request[0] == 0xFE {
		request = request[1:]
	}
	return request
}

// Every transcript is read as its profile says, digit for digit. Its file is
// called after the profile: ID.txt, or ID.something.txt.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d transcripts, %v", len(files), err)
	}
	l := Builtin()
	seen := map[string]bool{}
	for _, file := range files {
		id, _, _ := strings.Cut(filepath.Base(file), ".")
		p, err := l.Get(id)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range replay(p, file, string(text)) {
			t.Error(f)
		}
		seen[p.Protocol] = true
	}
	for _, protocol := range protocols() {
		if constructors[protocol] == nil {
			t.Errorf("no driver for %s", protocol)
		}
		if !seen[protocol] {
			t.Errorf("no transcript for %s", protocol)
		}
	}
}

// What a transcript can get wrong is noticed.
func TestTranscriptFaults(t *testing.T) {
	const file = "testdata/transcripts/peacefair-pzem016.txt"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := get(t, "peacefair-pzem016")
	for _, c := range []struct{ old, new, want string }{
		{"# computed, not recorded", "# hm", "say in a comment whether"},
		{"= voltage 230.5 V", "= voltage 230.6 V", "voltage is read as 230.5 V, expected 230.6 V"},
		{"= voltage 230.5 V", "= voltage 230.5 A", "voltage is read as 230.5 V, expected 230.5 A"},
		{"= voltage 230.5 V", "", "no value for voltage, which is read by default"},
		{"= voltage 230.5 V", "= voltage", "expected = quantity value unit"},
		{"= voltage 230.5 V", "= volts 230.5 V", "the profile has no volts"},
		{"> 01 04", "@ 2\n> 01 04", "not in the transcript: > 02 04 00 00 00 0A 70 3E"},
		{"> 01 04", "@ two\n> 01 04", "invalid syntax"},
		{"> 01 04", "> 02 04", "not in the transcript: > 01 04 00 00 00 0A 70 0D"},
		{"> 01 04", "> 01 04 00 00\n> 01 04", "not asked: > 01 04 00 00"},
		{"< 01 04", "< 01 05", "voltage is read as "},
		{"> 01", "> 0g", "invalid byte"},
		{"> 01", "< 01", "a reply before any request"},
		{"> 01", "~ 01", "expected a line that begins with"},
	} {
		changed := strings.Replace(string(b), c.old, c.new, 1)
		if changed == string(b) {
			t.Fatalf("%q is not there", c.old)
		}
		if faults := strings.Join(replay(p, "f", changed), "\n"); !strings.Contains(faults, c.want) {
			t.Errorf("%s:\n got %s\nwant ...%s...", c.new, faults, c.want)
		}
	}
}
