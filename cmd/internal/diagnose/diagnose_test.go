package diagnose

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/agent"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/drivers"
)

func TestLineWatchSaysEachFaultOnce(t *testing.T) {
	var out bytes.Buffer
	see := Watch(&configs.Site{
		Lines: []configs.Line{{Name: "hall", TCP: "10.0.0.9:502"}, {Name: "yard", TCP: "10.0.0.8:502"}},
		Meters: []configs.Meter{
			{Name: "a", Line: "hall", Address: "1"}, {Name: "b", Line: "hall", Address: "2"}, {Name: "c", Line: "yard", Address: "3"},
		},
	}, slog.New(slog.NewTextHandler(&out, nil)))
	fault := func(k drivers.Quality) error { return &drivers.Fault{Kind: k, Meter: "x", Err: errors.New("why")} }
	now := time.Now()
	for _, s := range []struct {
		line, meter string
		err         error
		says        []string // how the lines begin
	}{
		{"hall", "a", fault(drivers.Timeout), nil}, // not before the neighbour was asked
		{"hall", "b", nil, []string{`level=WARN msg="E-204 meter \"a\" (unit 1, 10.0.0.9:502) gives no answer: why; another meter on this line answers`}},
		{"hall", "a", fault(drivers.Timeout), nil},
		{"yard", "c", fault(drivers.Timeout), []string{`level=WARN msg="E-204 meter \"c\" (unit 3, 10.0.0.8:502) gives no answer: why; nothing on this line answers"`}},
		{"hall", "a", fault(drivers.BadFrame), []string{`level=WARN msg="E-205 meter \"a\"`}},
		{"hall", "a", nil, []string{`level=INFO msg="meter answers again" meter=a`}},
		{"hall", "a", nil, nil},
		{"hall", "a", fault(drivers.Disconnected), []string{`level=WARN msg="E-207 line \"hall\" (10.0.0.9:502): why"`}},
		{"hall", "b", fault(drivers.Disconnected), nil},
		{"hall", "b", nil, []string{`level=INFO msg="line is open again" line=hall`}},
		{"hall", "a", nil, nil},
	} {
		out.Reset()
		see(agent.Poll{Line: s.line, Meter: s.meter, Start: now, Err: s.err})
		var got []string
		for line := range strings.Lines(out.String()) {
			_, line, _ = strings.Cut(line, " ") // the time
			got = append(got, line)
		}
		ok := len(got) == len(s.says)
		for i := range got {
			ok = ok && strings.HasPrefix(got[i], s.says[i])
		}
		if !ok {
			t.Errorf("%s %s %v: says %q, want %q", s.line, s.meter, s.err, got, s.says)
		}
	}
}

// A fault of the whole line is said once for all its meters.
func TestLineFaultIsSaidOnce(t *testing.T) {
	l := &configs.Line{Name: "hall", TCP: "10.0.0.9:502"}
	gone := &drivers.Fault{Kind: drivers.Disconnected, Err: errors.New("connection refused")}
	dead := &drivers.Fault{Kind: drivers.Timeout, Err: errors.New("timeout after 1s")}
	polls := []Poll{
		{Meter: &configs.Meter{Name: "a"}, err: gone},
		{Meter: &configs.Meter{Name: "b"}, err: gone},
		{Meter: &configs.Meter{Name: "c"}, err: dead},
		{Meter: &configs.Meter{Name: "d"}, answered: true},
	}
	var codes []string
	for _, e := range Line(l, polls) {
		codes = append(codes, e.Code)
	}
	if !slices.Equal(codes, []string{"E-207", "E-204"}) {
		t.Errorf("%v, want the line once and meter c", codes)
	}
}

// A meter that keeps silent among others may still have other settings, another
// kind or another edition; a unit number alone is not to blame.
func TestSilentAmongOthers(t *testing.T) {
	l := &configs.Line{Name: "hall-a", Port: "/dev/ttyUSB0", Serial: settings(t, "9600 8N1")}
	silent := &drivers.Fault{Kind: drivers.Timeout, Err: errors.New("timeout after 2s")}
	for _, c := range []struct {
		meter     configs.Meter
		answering int
		want      string
	}{
		{configs.Meter{Protocol: configs.ModbusRTU, Address: "7"}, 1,
			"compare the unit number on the meter's display with address: 7 in the site file, and check that the meter has power; to find it: tallystick scan /dev/ttyUSB0"},
		{configs.Meter{Protocol: configs.ModbusRTU, Address: "7", Serial: settings(t, "9600 8E1")}, 1,
			"compare the unit number on the meter's display with address: 7 in the site file, and its speed and parity with serial: 9600 8E1, and check that the meter has power; to find it: tallystick scan /dev/ttyUSB0"},
		{configs.Meter{Protocol: configs.CJT188, Address: "78330000000001", Profile: "cjt188-heat"}, 1,
			"compare the address on the meter's plate with address: 78330000000001 in the site file, and check that the meter has power, " +
				"and that it is of the kind profile cjt188-heat is for: called as another (water, heat, gas) it keeps silent; to find it: tallystick scan /dev/ttyUSB0"},
		{configs.Meter{Protocol: configs.DLT645v1997, Address: "000012345678"}, 0,
			"check the wires (A and B may be swapped), the power of the meters, that this is the right port, and address: 000012345678 and serial: in the site file, " +
				"and that it speaks dlt645-1997, not the other edition; to try other settings and addresses: tallystick scan /dev/ttyUSB0"},
	} {
		if e := meterFault(l, Poll{Meter: &c.meter, err: silent}, c.answering); e.Code != "E-204" || e.Hint != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", e.Code, e.Hint, c.want)
		}
	}
}

func settings(t *testing.T, s string) configs.Settings {
	t.Helper()
	p, err := drivers.ParseSettings(s)
	if err != nil {
		t.Fatal(err)
	}
	return configs.Settings(p)
}
