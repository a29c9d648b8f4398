package clock

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// Outputs of w32tm /query /status /verbose, each in the code page of its console.
// The comment says who published it.
func TestW32Time(t *testing.T) {
	for name, want := range map[string]struct {
		flag    evidence.TimeFlag
		errorMS uint64
	}{
		// github.com/ConSol-Monitoring/snclient, TestCheckNTPOffsetW32TM:
		// 19.25505 + 28.135 + 6.1517 + 169.9667 ms
		"en-sync": {evidence.Synchronised, 224},
		// github.com/Checkmk/checkmk, w32time_status.py; it has heard nothing since.
		"en-hold":  {evidence.Synchronised, 9200},
		"en-never": {evidence.Unsynchronised, 0},
		// Notes of somebody's time server: it has no source, and is told to call its
		// own clock reliable.
		"en-local": {evidence.Unsynchronised, 0},
		// learn.microsoft.com, "Windows Time service tools and settings"
		"en-hyperv": {evidence.Synchronised, 19},
		// github.com/Checkmk/checkmk, test_w32time_status.py, in GBK: one label has
		// no space after its colon, one is not translated.
		"zh-sync": {evidence.Synchronised, 8273},
		// Notes of somebody's domain controller, in UTF-8.
		"zh-hold": {evidence.Synchronised, 4435},
		// github.com/Checkmk/checkmk, test_w32time_status.py, in code page 850: the
		// console broke a line.
		"de-wrapped": {evidence.Synchronised, 2530},
		"stopped":    {evidence.Unsynchronised, 0},
	} {
		out, err := os.ReadFile(filepath.Join("testdata/w32tm", name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		s, ok := parseW32Status(out)
		if ok != (name != "stopped") {
			t.Errorf("%s: understood %v: %+v", name, ok, s)
		}
		if flag, errorMS := s.state(0); flag != want.flag || errorMS != want.errorMS {
			t.Errorf("%s: %s %d ms, want %s %d ms (%+v)", name, flag, errorMS, want.flag, want.errorMS, s)
		}
	}
}

// A line that is not what its place says makes the whole not understood.
func TestW32TimeIsNotGuessed(t *testing.T) {
	out, err := os.ReadFile("testdata/w32tm/en-sync.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(out, []byte("\n"))
	if _, ok := parseW32Status(bytes.Join(lines, nil)); !ok {
		t.Fatal("the whole is not understood")
	}
	for i, line := range lines {
		if !bytes.Contains(line, []byte(":")) || i == 6 || i == 7 { // words
			continue
		}
		for what, broken := range map[string][]byte{
			"missing": nil,
			"empty":   []byte("Label:\r\n"),
			"words":   []byte("Label: words\r\n"),
			"a time":  []byte("Label: 12:30\r\n"),
			"endless": []byte("Label: 99999999999999999999s\r\n"),
		} {
			changed := bytes.Join(append(append(append([][]byte{}, lines[:i]...), broken), lines[i+1:]...), nil)
			if s, ok := parseW32Status(changed); ok {
				t.Errorf("line %d %s is taken for %+v", i+1, what, s)
			}
		}
	}
}

func TestW32TimeState(t *testing.T) {
	good := w32Status{stratum: 2, reference: 0x0a0a0a0a, machine: 2, rootDelay: 20 * time.Millisecond, dispersion: 30 * time.Millisecond,
		offset: -5 * time.Millisecond, age: 100 * time.Second}
	if flag, errorMS := good.state(0); flag != evidence.Synchronised || errorMS != 10+30+5+50 {
		t.Errorf("%s %d ms", flag, errorMS)
	}
	if flag, errorMS := good.state(time.Minute); flag != evidence.Synchronised || errorMS != 10+30+5+80 {
		t.Errorf("a minute later: %s %d ms", flag, errorMS)
	}
	for what, spoil := range map[string]func(*w32Status){
		"not synchronised":    func(s *w32Status) { s.leap = 3 },
		"no stratum":          func(s *w32Status) { s.stratum = 0 },
		"stratum 16":          func(s *w32Status) { s.stratum = 16 },
		"its own clock":       func(s *w32Status) { s.reference = w32Local },
		"state unset":         func(s *w32Status) { s.machine = 0 },
		"good in the future":  func(s *w32Status) { s.age = -time.Second },
		"off by 16 s":         func(s *w32Status) { s.dispersion = 16 * time.Second },
		"not heard for 9 h":   func(s *w32Status) { s.age = 9 * time.Hour },
		"a dispersion of -16": func(s *w32Status) { s.dispersion = -16 * time.Second },
	} {
		s := good
		spoil(&s)
		if flag, errorMS := s.state(0); flag != evidence.Unsynchronised || errorMS != 0 {
			t.Errorf("%s: %s %d ms", what, flag, errorMS)
		}
	}
}

func FuzzW32Time(f *testing.F) {
	names, err := filepath.Glob("testdata/w32tm/*.txt")
	if err != nil || len(names) == 0 {
		f.Fatal(names, err)
	}
	for _, name := range names {
		out, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(out)
	}
	f.Fuzz(func(t *testing.T, out []byte) {
		s, ok := parseW32Status(out)
		flag, errorMS := s.state(time.Minute)
		if flag == evidence.Synchronised && (errorMS == 0 || errorMS > 16000) {
			t.Errorf("%v %+v: %s %d ms", ok, s, flag, errorMS)
		}
	})
}
