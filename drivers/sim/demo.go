package sim

import (
	"path/filepath"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/drivers/sim/meter"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

// DemoMeter is one meter of the demo factory and where to find it.
type DemoMeter struct {
	*meter.Modbus
	Line    int // index into Factory.Lines
	Unit    byte
	Profile string
	Ratio   int64 // CT x PT: multiply the registers by it
}

// Demo opens a small factory in real time on a Monday morning: three meters on
// a serial line at 9600 8N1 (a pseudo-terminal linked at dir/hall-a), two behind
// a serial server and one on Modbus TCP, both on free loopback ports. Equal
// seeds give equal factories.
func Demo(seed uint64, dir string) (*Factory, []DemoMeter, error) {
	library := profile.Builtin()
	load := plant.ShiftPattern(seed, time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC))
	clock, err := plant.NewClock(1, plant.Hold{}, 0)
	if err != nil {
		return nil, nil, err
	}
	wire := drivers.Settings{Baud: 9600, DataBits: 8, Parity: 'N', StopBits: 1}
	lines := []Line{
		{Kind: RTU, Address: filepath.Join(dir, "hall-a"), Serial: wire, Units: meter.Units{}},
		{Kind: RTUOverTCP, Address: "127.0.0.1:0", Serial: wire, Units: meter.Units{}},
		{Kind: TCP, Address: "127.0.0.1:0", Units: meter.Units{}},
	}
	var meters []DemoMeter
	for i, d := range []struct {
		name    string
		line    int
		unit    byte
		profile string
		ratio   int64
		share   int64 // thousandths of the pattern's 100 kW
	}{
		{"press-1", 0, 1, "eastron-sdm630", 1, 160},
		{"press-2", 0, 2, "acrel-adw300", 1, 420},
		{"lathe-1", 0, 3, "chint-dtsu666", 20, 90},
		{"oven-1", 1, 1, "acrel-dtsd1352", 30, 280},
		{"compressor", 1, 2, "eastron-sdm630", 1, 120},
		{"incoming", 2, 1, "schneider-pm5110", 1, 1000},
	} {
		p, err := library.Get(d.profile)
		if err != nil {
			return nil, nil, err
		}
		m, err := meter.NewModbus(meter.Config{Name: d.name, Load: load, Clock: clock, Seed: seed + uint64(i), Share: d.share, Ratio: d.ratio}.WithProfile(p))
		if err != nil {
			return nil, nil, err
		}
		lines[d.line].Units[d.unit] = m
		meters = append(meters, DemoMeter{m, d.line, d.unit, d.profile, d.ratio})
	}
	f, err := Open(lines...)
	return f, meters, err
}
