package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/drivers/sim"
	"github.com/tallystick/tallystick/drivers/sim/meter"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

const help = `Tally-sim is a simulated factory. Its meters answer Modbus, DL/T 645, CJ/T 188
and IEC 62056-21 reads on pseudo-terminals (with the timing of a real wire) and
TCP ports, with values that belong together: P = U x I x PF, and the energy
register is the exact integral of P.

Lines and meters, in the order given; a meter belongs to the line before it:
  --line rtu:LINK[@9600-8N1]            a pseudo-terminal, linked at LINK
  --line rtu-tcp:HOST:PORT[@9600-8N1]   the same behind a serial server
  --line tcp:HOST:PORT                  Modbus TCP
  --meter UNIT=PROFILE[,OPTION...]      one Modbus meter
  --meter FIRST-LAST=PROFILE[,...]      one at each unit
  --meter ADDRESS=MODEL[,OPTION...]     one that names its data, on a serial line:
      12 digits    dlt645-2007-1ph, dlt645-2007-3ph, dlt645-1997
      14 digits    cjt188-water, cjt188-heat, cjt188-gas
      iec:ADDRESS  iec62056-generic
Without @SETTING, bytes pass at once. Port 0 takes a free port. All protocols
may share a serial line.

Options of a meter:
  name=NAME         for reports
  ratio=200/5       CT x PT: the registers hold load / ratio, and stop at their
                    end where the load is too large for them
  share=25%         of the load
  base=1234.56      kWh (or m3) in the register at the start
  digits=5          the counters start again after 99999
  serial=2400-8E1   its own settings: it hears what is sent with them, nothing
                    else. On a pseudo-terminal they are the ones the program has
                    set on it; a line over TCP has those after its @
  delay=200ms       from the end of a request to the reply
  wakeup=4          FE bytes before each reply (DL/T 645, CJ/T 188)
  order=low         byte order of the CJ/T 188 identifier: high, low or any
  ser=0             answer CJ/T 188 requests with SER 00, not their own
  mode=A            IEC 62056-21 without a change of speed; the usual is C
  baud=9600         the speed an IEC 62056-21 meter changes to in mode C
  twin              a second meter at the same address: both answer at once
What happens to a meter, KEY=WHEN in simulated time since the start: reset,
freeze, thaw, die, revive, open-cover, set-clock, lose-power, lose-phase, and
exchange=WHEN:NUMBER for another meter in its place.
How often a meter misbehaves, as lost=1%: lost, late (2 s, or late=1%:500ms),
corrupt, cut, noise, foreign (answers in another's name), wrong (a good frame
with values half as high again), refused. Equal seeds misbehave alike.

Options of a line, after the setting: the same rates, for all its meters that
have none of their own; echo (the sender hears itself); garbage (who uses
foreign settings gets noise instead of silence).

The load is a built-in week of shifts (100 kW), or a curve from a file: 15
minutes a row, columns as in the UCI data set "Steel Industry Energy
Consumption". At the end of a curve everything stands still, the registers hold
base + the sum of the rows, and a summary is printed; the meters go on
answering until SIGINT or SIGTERM.

With --hold first-poll the first request still finds the state at the start;
first-poll+5s leaves a client time to read every meter once before it moves.

`

const example = `  tally-sim --line rtu:/tmp/hall-a@9600-8N1 --meter 1=eastron-sdm630 --meter 2=acrel-dtsd1352,ratio=200/5
  tally-sim --line tcp:127.0.0.1:1502 --meter 1-50=schneider-pm5110
  tally-sim --line rtu:/tmp/hall-a@9600-8N1 --meter 1=eastron-sdm630 --load-curve Steel_industry_data.csv \
      --from 2018-02-01 --to 2018-03-01 --speed 20000 --hold first-poll+5s --json
  tally-sim --line rtu:/tmp/hall-a,lost=1% --meter 1=eastron-sdm630,serial=9600-8N1 \
      --meter 000000000123=dlt645-2007-3ph,serial=2400-8E1,wakeup=4 --meter 33780012345678=cjt188-water,serial=2400-8E1,order=low`

// refresh is how old the values in an answer may be. It keeps a simulator that
// is asked without a pause from computing them each time.
const refresh = 50 * time.Millisecond

// run is the command; it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s := simulator{out: stdout}
	root := &cobra.Command{
		Use:     "tally-sim --line LINE --meter METER...",
		Short:   "Simulated factory for the demo, tests and benchmarks",
		Long:    help + cli.ExitCodes,
		Example: example,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.run(cmd.Context()) },
	}
	f := root.Flags()
	f.Var(lineFlag{&s.wiring}, "line", "a line (repeatable): rtu:LINK@9600-8N1, rtu-tcp:HOST:PORT@9600-8N1, tcp:HOST:PORT")
	f.Var(meterFlag{&s.wiring}, "meter", "meters on the line before (repeatable): UNIT=PROFILE, FIRST-LAST=PROFILE or ADDRESS=MODEL")
	f.StringVar(&s.curve, "load-curve", "", "CSV file that drives the load instead of the built-in shifts")
	f.Var(&s.from, "from", "begin here on the load curve, or at this weekday and time of the shifts")
	f.Var(&s.to, "to", "end here on the load curve")
	f.Float64Var(&s.speed, "speed", 1, "simulated seconds per second")
	f.StringVar(&s.hold, "hold", "0", "when time begins to move: DURATION, first-poll or first-poll+DURATION")
	f.Uint64Var(&s.seed, "seed", 1, "what differs between the meters is drawn from this")
	f.BoolVar(&s.exitAtEnd, "exit-at-end", false, "leave at the end of the load curve")
	f.BoolVar(&s.json, "json", false, "print one JSON object when ready and one at the end")
	f.SortFlags = false
	return cli.Execute(ctx, root, args, stdout, stderr, nil)
}

// simulator is one run of the command: what was asked, then what was built.
type simulator struct {
	out             io.Writer
	wiring          wiring
	curve, hold     string
	from, to        dateFlag
	speed           float64
	seed            uint64
	exitAtEnd, json bool

	meters []*placed
}

// placed is a meter and where it is.
type placed struct {
	reported
	line    int
	unit    byte   // 0 where there is an address
	address string // "" for Modbus
	profile string
	serial  drivers.Settings // its own, if it has any
}

// reported is what a report says of a meter.
type reported interface {
	Name() string
	Requests() int64
	Reading(quantity string) (drivers.Decimal, bool)
	Base() drivers.Decimal
	Drawn() drivers.Decimal
}

func (s *simulator) run(ctx context.Context) error {
	load, err := s.load()
	if err != nil {
		return err
	}
	hold, err := plant.ParseHold(s.hold)
	if err != nil {
		return cli.UsageError("%v", err)
	}
	clock, err := plant.NewClock(s.speed, hold, load.Length())
	if err != nil {
		return cli.UsageError("%v", err)
	}
	lines, err := s.build(load, clock)
	if err != nil {
		return err
	}
	factory, err := sim.Open(lines...)
	if err != nil {
		return err
	}
	s.printReady(factory.Lines)

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() {
		served <- factory.Run(ctx)
		stop()
	}()
	ended := clock.Wait(ctx) == nil
	s.printSummary(ended)
	if ended && !s.exitAtEnd {
		<-ctx.Done()
	}
	stop()
	return <-served
}

// load is the curve asked for, or the shifts.
func (s *simulator) load() (*plant.Load, error) {
	if s.curve == "" {
		if !s.to.IsZero() || s.exitAtEnd {
			return nil, cli.UsageError("--to and --exit-at-end need --load-curve: the built-in shifts have no end")
		}
		start := s.from.Time
		if start.IsZero() {
			start = time.Now()
		}
		return plant.ShiftPattern(s.seed, start), nil
	}
	f, err := os.Open(s.curve)
	if err != nil {
		return nil, &cli.Error{Exit: cli.Environment, Text: "load curve: " + err.Error(), Hint: "--load-curve takes the path of a CSV file"}
	}
	defer f.Close()
	whole, err := plant.ReadCurve(s.curve, f)
	if err != nil {
		return nil, &cli.Error{Exit: cli.Usage, Text: err.Error()}
	}
	part, err := whole.Between(s.from.Time, s.to.Time)
	if err != nil {
		return nil, &cli.Error{Exit: cli.Usage, Text: fmt.Sprintf("%s: %v", s.curve, err), Hint: "choose --from and --to within the curve"}
	}
	return part, nil
}

// build makes the meters and puts them on their lines.
func (s *simulator) build(load *plant.Load, clock *plant.Clock) ([]sim.Line, error) {
	if len(s.wiring) == 0 {
		return nil, &cli.Error{Exit: cli.Usage, Text: "no --line", Hint: "for example: tally-sim --line tcp:127.0.0.1:1502 --meter 1=eastron-sdm630"}
	}
	library := profile.Builtin()
	var lines []sim.Line
	for i, pl := range s.wiring {
		line := pl.Line
		line.Units = make(meter.Units)
		if len(pl.meters) == 0 {
			return nil, cli.UsageError("line %s:%s has no --meter", line.Kind, line.Address)
		}
		for _, spec := range pl.meters {
			if spec.rates == (meter.Rates{}) {
				spec.rates = pl.rates
			}
			copies := 1
			if spec.twin {
				copies = 2
			}
			for range copies {
				for unit := spec.first; unit <= spec.last; unit++ {
					m, heard, err := s.meter(spec, unit, load, clock, library)
					if err != nil {
						return nil, cli.UsageError("%v", err)
					}
					if units, modbus := heard.(meter.Units); modbus && spec.serial.Baud == 0 && spec.delay == 0 && line.Units[byte(unit)] == nil {
						line.Units[byte(unit)] = units[byte(unit)]
					} else {
						line.Stations = append(line.Stations, sim.Station{Meter: heard, Serial: spec.serial, Delay: spec.delay})
					}
					s.meters = append(s.meters, &placed{m, i, byte(unit), spec.address, spec.profile, spec.serial})
				}
			}
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// meter makes one meter, and what of it hangs on the line.
func (s *simulator) meter(spec meterSpec, unit int, load *plant.Load, clock *plant.Clock, library *profile.Library) (reported, sim.Listener, error) {
	c := meter.Config{
		Name: spec.name, Load: load, Clock: clock, Seed: s.seed + uint64(len(s.meters)),
		Share: spec.share, Ratio: spec.ratio, Base: spec.base, Refresh: refresh, Digits: spec.digits, Acts: spec.acts,
	}
	if spec.rates != (meter.Rates{}) {
		c.Fault = spec.rates.Faults(c.Seed)
	}
	if spec.address != "" {
		if c.Name == "" {
			c.Name = spec.profile + "-" + spec.address
		}
		spec.model.Name, spec.model.Address = spec.profile, spec.address
		switch {
		case spec.modeA:
			spec.model.Speed = 0
		case spec.model.Speed == 0:
			spec.model.Speed = 9600
		}
		m, err := meter.NewNamed(c, spec.model)
		return m, m, err
	}
	if c.Name == "" || spec.first != spec.last {
		c.Name = fmt.Sprintf("%s-%d", strings.TrimSuffix(spec.profile+"-"+spec.name, "-"), unit)
	}
	p, err := library.Get(spec.profile)
	if err != nil {
		return nil, nil, err
	}
	m, err := meter.NewModbus(c.WithProfile(p))
	return m, meter.Units{byte(unit): m}, err
}

type readyJSON struct {
	Ready bool        `json:"ready"`
	Lines []readyLine `json:"lines"`
}

type readyLine struct {
	Kind    sim.Kind     `json:"kind"`
	Address string       `json:"address"`
	Serial  string       `json:"serial,omitempty"`
	Meters  []readyMeter `json:"meters"`
}

type readyMeter struct {
	Meter   string `json:"meter"`
	Unit    byte   `json:"unit,omitempty"`    // of a Modbus meter
	Address string `json:"address,omitempty"` // of any other
	Profile string `json:"profile"`
	Serial  string `json:"serial,omitempty"` // its own settings, if it has any
}

// at is where a meter is, for people.
func at(unit byte, address string) string {
	if address != "" {
		return address
	}
	return fmt.Sprintf("unit %d", unit)
}

// printReady says what listens where. From then on clients can connect.
func (s *simulator) printReady(lines []sim.Line) {
	ready := readyJSON{Ready: true}
	for _, l := range lines {
		serial := ""
		if l.Serial.Baud > 0 {
			serial = l.Serial.String()
		}
		ready.Lines = append(ready.Lines, readyLine{Kind: l.Kind, Address: l.Address, Serial: serial})
	}
	for _, m := range s.meters {
		l := &ready.Lines[m.line]
		serial := ""
		if m.serial.Baud > 0 {
			serial = m.serial.String()
		}
		l.Meters = append(l.Meters, readyMeter{m.Name(), m.unit, m.address, m.profile, serial})
	}
	if s.json {
		s.printJSON(ready)
		return
	}
	for _, l := range ready.Lines {
		fmt.Fprintln(s.out, strings.TrimRight(fmt.Sprintf("%-7s %s  %s", l.Kind, l.Address, l.Serial), " "))
		for _, m := range l.Meters {
			fmt.Fprintln(s.out, strings.TrimRight(fmt.Sprintf("  %-14s  %-20s  %s  %s", at(m.Unit, m.Address), m.Profile, m.Meter, m.Serial), " "))
		}
	}
	fmt.Fprintf(s.out, "ready: %d meters on %d lines\n", len(s.meters), len(lines))
}

type summaryJSON struct {
	Ended  bool           `json:"ended"` // the end of the load curve was reached
	Meters []summaryMeter `json:"meters"`
}

type summaryMeter struct {
	Meter    string `json:"meter"`
	Unit     byte   `json:"unit,omitempty"`
	Address  string `json:"address,omitempty"`
	Profile  string `json:"profile"`
	Requests int64  `json:"requests"`
	// kWh, exact decimals; absent on a meter without an energy register.
	EnergyBase   string `json:"energy_base,omitempty"`
	EnergyImport string `json:"energy_import,omitempty"` // what the register holds
	CurveKWh     string `json:"curve_kwh"`               // what the load drew since the start
	// m3, of a water, heat or gas meter.
	VolumeBase string `json:"volume_base,omitempty"`
	Volume     string `json:"volume,omitempty"`
}

// printSummary says what the registers hold now.
func (s *simulator) printSummary(ended bool) {
	sum := summaryJSON{Ended: ended}
	for _, m := range s.meters {
		r := summaryMeter{Meter: m.Name(), Unit: m.unit, Address: m.address, Profile: m.profile, Requests: m.Requests()}
		if e, ok := m.Reading("energy_import"); ok {
			r.EnergyImport = e.String()
			r.EnergyBase = plain(m.Base())
		}
		if v, ok := m.Reading("volume"); ok {
			r.Volume = v.String()
			r.VolumeBase = plain(m.Base())
		}
		r.CurveKWh = plain(m.Drawn())
		sum.Meters = append(sum.Meters, r)
	}
	if s.json {
		s.printJSON(sum)
		return
	}
	if ended {
		fmt.Fprintln(s.out, "end of the load curve")
	}
	fmt.Fprintf(s.out, "%-24s %14s %9s %14s %14s %14s\n", "METER", "ADDRESS", "REQUESTS", "START kWh", "REGISTER kWh", "DRAWN kWh")
	for _, m := range sum.Meters {
		start, register := m.EnergyBase, m.EnergyImport
		if m.Volume != "" {
			start, register = m.VolumeBase+" m3", m.Volume+" m3"
		}
		fmt.Fprintf(s.out, "%-24s %14s %9d %14s %14s %14s\n", m.Meter, at(m.Unit, m.Address), m.Requests, start, register, m.CurveKWh)
	}
}

func (s *simulator) printJSON(v any) {
	// Nothing but our own plain structs: encoding cannot fail, and a closed
	// stdout is no reason to stop the meters.
	_ = json.NewEncoder(s.out).Encode(v)
}

// plain writes a decimal without the zeros it does not need, two decimals at
// least.
func plain(d drivers.Decimal) string {
	for d.Exp < -2 && d.Coef%10 == 0 {
		d.Coef /= 10
		d.Exp++
	}
	return d.String()
}
