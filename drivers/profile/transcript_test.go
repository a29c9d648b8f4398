package profile_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/cjt188"
	"github.com/tallystick/tallystick/drivers/dlt645"
	"github.com/tallystick/tallystick/drivers/drivertest"
	"github.com/tallystick/tallystick/drivers/modbus"
	"github.com/tallystick/tallystick/drivers/profile"
)

// transcript is one reading of a device as it crossed the wire:
//
//	@ 1                  the unit number or address it was asked at
//	> 01 04 00 00 ...    a request
//	< 01 04 04 ...       its reply
//	= voltage_l1 230.1 V what the device showed
//
// Lines that begin with # are comments; the first says where it is from.
type transcript struct {
	address string
	replies map[string][]byte // by request
	shown   map[string]string // quantity: value and unit
	used    map[string]bool
}

func readTranscript(t *testing.T, text string) *transcript {
	t.Helper()
	tr := &transcript{replies: map[string][]byte{}, shown: map[string]string{}, used: map[string]bool{}}
	var request string
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		kind, rest, _ := strings.Cut(line, " ")
		fail := func(why string) { t.Helper(); t.Fatalf("line %d: %q: %s", n, line, why) }
		switch kind {
		case "", "#":
		case "@":
			tr.address = rest
		case ">", "<":
			b, err := hex.DecodeString(strings.ReplaceAll(rest, " ", ""))
			if err != nil {
				fail("expected bytes in hexadecimal")
			}
			if kind == ">" {
				request = string(b)
			} else {
				tr.replies[request] = b
			}
		case "=":
			quantity, value, ok := strings.Cut(rest, " ")
			if !ok {
				fail("expected a quantity, a value and its unit")
			}
			tr.shown[quantity] = strings.TrimSpace(value)
		default:
			fail("expected a line that begins with @, >, <, = or #")
		}
	}
	return tr
}

// check reads the device again from its transcript.
func (tr *transcript) check(t *testing.T, p *profile.Profile) {
	t.Helper()
	line := &drivertest.Line{Reply: func(q []byte) ([]byte, error) {
		r, ok := tr.replies[string(q)]
		if !ok {
			t.Fatalf("the profile asks % X, which is not in the transcript", q)
		}
		tr.used[string(q)] = true
		return r, nil
	}}
	device, quantities := tr.device(t, p, line)
	got := make([]drivers.Reading, len(quantities))
	if err := device.Read(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	if len(tr.shown) == 0 {
		t.Fatal("the transcript does not say what the device showed")
	}
	for quantity, want := range tr.shown {
		i := slices.IndexFunc(quantities, func(q drivers.Quantity) bool { return q.Name == quantity })
		if i < 0 {
			t.Errorf("the profile does not read %s by default", quantity)
			continue
		}
		read := strings.TrimSpace(drivers.Decimal{Coef: got[i].Coef, Exp: quantities[i].Exp}.String() + " " + quantities[i].Unit)
		if got[i].Quality != drivers.OK || read != want {
			t.Errorf("%s: read %s (%v), the device showed %s", quantity, read, got[i].Quality, want)
		}
	}
	for q := range tr.replies {
		if !tr.used[q] {
			t.Errorf("nobody asks % X", q)
		}
	}
}

type reader interface {
	Read(context.Context, []drivers.Reading) error
}

func (tr *transcript) device(t *testing.T, p *profile.Profile, line drivers.Exchanger) (device reader, quantities []drivers.Quantity) {
	t.Helper()
	var err error
	switch p.Protocol {
	case profile.Modbus:
		var unit uint8
		if _, err := fmt.Sscan(tr.address, &unit); err != nil {
			t.Fatalf("address %q: expected a unit number", tr.address)
		}
		device, err = modbus.New(modbus.Config{Name: p.ID, Unit: unit, Registers: p.Registers, Ranges: p.Ranges, MaxRegisters: p.MaxRegisters}, line)
	case "dlt645-2007", "dlt645-1997":
		v := dlt645.V2007
		if p.Protocol == "dlt645-1997" {
			v = dlt645.V1997
		}
		device, err = dlt645.New(dlt645.Config{Name: p.ID, Address: tr.address, Version: v, Items: p.Items, Blocks: p.Blocks}, line)
	case "cjt188":
		device, err = cjt188.New(cjt188.Config{Name: p.ID, Address: tr.address, Type: p.MeterType, Items: p.Items}, line)
	default:
		t.Fatalf("no transcripts of %s yet", p.Protocol)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Registers {
		quantities = append(quantities, r.Quantity)
	}
	for _, i := range p.Items {
		quantities = append(quantities, i.Quantity)
	}
	return device, quantities
}

func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d transcripts, %v", len(files), err)
	}
	lib, err := profile.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		id := strings.TrimSuffix(filepath.Base(f), ".txt")
		t.Run(id, func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			p, err := lib.Get(id)
			if err != nil {
				t.Fatal(err)
			}
			readTranscript(t, string(text)).check(t, p)
		})
	}
}

// CONTRIBUTING.md walks through adding a device: one YAML file and one
// transcript, no Go. This follows the walk.
func TestTheWalkInContributing(t *testing.T) {
	text, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string) string {
		t.Helper()
		m := regexp.MustCompile("(?s)```" + kind + "\n(.*?)```").FindSubmatch(text)
		if m == nil {
			t.Fatalf("CONTRIBUTING.md has no block of %s", kind)
		}
		return string(bytes.TrimSpace(m[1])) + "\n"
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "acme-m3.yaml"), []byte(block("yaml")), 0o644); err != nil {
		t.Fatal(err)
	}
	lib, err := profile.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	if err := lib.AddDir(dir); err != nil {
		t.Fatal(err)
	}
	p, err := lib.Get("acme-m3")
	if err != nil {
		t.Fatal(err)
	}
	readTranscript(t, block("text")).check(t, p)
	if err := lib.AddDir(dir); err == nil || !strings.Contains(err.Error(), "the id acme-m3 is another profile's") {
		t.Errorf("a second profile of one id: %v", err)
	}
}
