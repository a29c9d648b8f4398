package assembly

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/agent/judge"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/line"
	"github.com/tallystick/tallystick/drivers/modbus"
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/drivers/sim"
	"github.com/tallystick/tallystick/drivers/sim/meter"
	"github.com/tallystick/tallystick/drivers/sim/plant"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// The fewest requests each profile's readable ranges allow for what it reads by
// default. A profile or planner that needs more makes a slow line slower.
func TestRequestsPerPoll(t *testing.T) {
	lib := profile.Builtin()
	want := map[string]int{
		"acrel-adw300": 4, "acrel-dtsd1352": 7, "chint-dtsu666": 5, "eastron-sdm630": 1, "schneider-pm5110": 5, "waveshare-8di": 1,
		"carlo-gavazzi-em24": 8, "carlo-gavazzi-em340": 7, "chint-ddsu666": 5, "delta-dvp": 2, "delta-vfd-e": 2, "dio-8ch": 1,
		"eastron-sdm120": 6, "eastron-sdm72dv2": 4, "huawei-sun2000": 2, "invt-goodrive": 3, "janitza-umg604": 7,
		"mitsubishi-fx3u": 2, "peacefair-pzem016": 1, "plc-status": 1, "schneider-iem3155": 7, "siemens-pac2200": 6,
		"siemens-s7-1200": 1, "stack-light-8di": 1, "wago-879": 3,
	}
	for _, id := range lib.IDs() {
		p, err := lib.Get(id)
		if err != nil {
			t.Fatal(err)
		}
		if p.Protocol != profile.Modbus {
			continue
		}
		m, err := modbus.New(modbus.Config{Name: id, Unit: 1, Registers: p.Registers, Ranges: p.Ranges, MaxRegisters: p.MaxRegisters}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, known := want[id]; known && len(m.Requests()) != n {
			t.Errorf("%s: %d requests for %d quantities, want %d: %v", id, len(m.Requests()), len(p.Registers), n, m.Requests())
		}
	}
}

// What a site file says of a port and of one meter's time-out reaches the line. A
// pseudo-terminal knows no RS-485, and nobody answers on this one.
func TestLineAndMeterSettings(t *testing.T) {
	pty, err := sim.OpenPTY("")
	if err != nil {
		t.Skip(err)
	}
	defer pty.Close()
	site, err := configs.ParseSite("site.yaml", []byte(`site: {name: demo}
lines: [{name: hall-a, port: `+pty.Path()+`, rs485: {rts_on_send: low}}]
meters: [{name: press-1, line: hall-a, address: 7, profile: eastron-sdm630, timeout: 30ms}]
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	lib, err := Library("")
	if err != nil {
		t.Fatal(err)
	}
	var warnings []string
	lines, err := Lines(site, lib, nil, func(err error) { warnings = append(warnings, err.Error()) })
	if err != nil {
		t.Fatal(err)
	}
	defer lines[0].Close()
	m := lines[0].Meters[0]
	err = m.Device.Read(t.Context(), make([]drivers.Reading, len(m.Columns)))
	if err == nil || !strings.HasSuffix(err.Error(), "from meter press-1: timeout after 30ms") {
		t.Errorf("%v", err)
	}
	if len(warnings) != 1 || !strings.HasPrefix(warnings[0], "line hall-a: port "+pty.Path()+": its driver does not switch the direction") {
		t.Errorf("warnings %q", warnings)
	}
}

// An IEC 62056-21 meter is told from the one that takes its place by the readout
// that is read anyway.
func TestExchangedIEC62056(t *testing.T) {
	fast := drivers.Settings{Baud: 19200, DataBits: 7, Parity: 'E', StopBits: 1}
	load := plant.ShiftPattern(1, time.Now())
	clock, err := plant.NewClock(1, plant.Hold{For: time.Hour}, 0)
	if err != nil {
		t.Fatal(err)
	}
	there, err := meter.NewNamed(meter.Config{Name: "press-1", Load: load, Clock: clock}, meter.Model{Name: "iec62056-generic", Address: "12345678", Speed: 19200})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	served := make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		conn, err := ln.Accept()
		if err == nil {
			err = sim.Serve(ctx, conn, sim.Line{Stations: []sim.Station{{Meter: there, Serial: fast}}}, nil)
		}
		served <- err
	}()
	site, err := configs.ParseSite("site.yaml", []byte(`site: {name: demo}
lines: [{name: hall-a, tcp: "`+ln.Addr().String()+`"}]
meters: [{name: press-1, line: hall-a, protocol: iec62056-21, address: "12345678", profile: iec62056-generic, interval: 1m}]
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	lib, err := Library("")
	if err != nil {
		t.Fatal(err)
	}
	lines, err := Lines(site, lib, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := lines[0].Meters[0]
	if m.Identity == nil {
		t.Fatal("the meter cannot be told from another")
	}
	for _, want := range []string{"12345678", "87654321"} {
		if err := there.Replace(want); err != nil {
			t.Fatal(err)
		}
		if err := m.Device.Read(t.Context(), make([]drivers.Reading, len(m.Columns))); err != nil {
			t.Fatal(err)
		}
		if got, err := m.Identity(t.Context()); err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	stop()
	lines[0].Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// What a profile knows of a quantity over time reaches the judge.
func TestRules(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "acme-m1.yaml"), []byte(`id: acme-m1
version: 1
name: {zh: 某某, en: Acme M1}
vendor: Acme
class: meter
serial: 9600 8N1
unit: 1
ranges:
  - {table: input, from: 0x0000, to: 0x0001}
kinds:
  - {name: energy, unit: kWh, table: input, type: uint32, min: 0, max: 99999999, counter: true, digits: 8, max_rate: 1000, frozen_after: 1h, refresh: 10s}
registers:
  - {quantity: energy_import, kind: energy, address: 0}
caveats:
  - This meter does not exist.
sources:
  - none
`), 0o644); err != nil {
		t.Fatal(err)
	}
	lib, err := Library(dir)
	if err != nil {
		t.Fatal(err)
	}
	site, err := configs.ParseSite("site.yaml", []byte(`site: {name: demo}
lines: [{name: hall-a, tcp: "192.0.2.1:4001"}]
meters: [{name: press-1, line: hall-a, protocol: modbus-rtu, address: 7, profile: acme-m1}]
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := Lines(site, lib, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := judge.Rule{Counter: true, Modulus: 1e8, MaxRate: 1000, Frozen: time.Hour, Refresh: 10 * time.Second}
	if got := lines[0].Meters[0].Columns[0].Rule; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestRS485(t *testing.T) {
	for in, want := range map[configs.RS485]*line.RS485{
		{}: nil,
		{RTSOnSend: configs.High, DelayBefore: time.Millisecond}: {RTSOnSend: true, DelayBefore: time.Millisecond},
		{RTSOnSend: configs.Low, DelayAfter: time.Millisecond}:   {DelayAfter: time.Millisecond},
	} {
		if got := rs485(in); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v: %+v, want %+v", in, got, want)
		}
	}
}

// CT and PT ratios apply to what passes the transformers, and to nothing else.
func TestMultiplier(t *testing.T) {
	ct, pt := configs.Ratio{Coef: 40}, configs.Ratio{Coef: 100}
	for unit, want := range map[string]drivers.Decimal{
		"A": {Coef: 40}, "V": {Coef: 100}, "W": {Coef: 4000}, "kWh": {Coef: 4000}, "kvarh": {Coef: 4000}, "VA": {Coef: 4000}, "var": {Coef: 4000},
		"Hz": {Coef: 1}, "": {Coef: 1}, "deg": {Coef: 1},
	} {
		if got := multiplier(unit, ct, pt); got != want {
			t.Errorf("%q: %v, want %v", unit, got, want)
		}
	}
}

// A lender of totals: the site file's words become channels of the evidence, with
// the columns the meter's profile has counters for.
func TestSiteWithTotals(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tallystick.yaml")
	err := os.WriteFile(file, []byte(`site: {name: demo}
lines: [{name: hall-a, tcp: "127.0.0.1:502"}]
meters: [{name: press-1, line: hall-a, protocol: modbus-tcp, address: 1, profile: eastron-sdm630, quantities: [energy_import, power, voltage_l1]}]
channels: [energy, power, aggregates, daily]
timezone: Asia/Urumqi
lenders: [{name: bank-a, broker: "mqtts://mq.example", share: [daily], ack: puback}]
buffer: {directory: data}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	site, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	site.Lenders = nil // nobody is called
	a, err := Open(site, Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	meta, err := evidence.ParseMeta(a.Source().Meta())
	if err != nil {
		t.Fatal(err)
	}
	got := map[evidence.Channel][]string{}
	for ch, meters := range meta.Genesis.Manifest.Dictionary().Channels {
		for _, c := range meters[0].Columns {
			got[ch] = append(got[ch], c.Quantity)
		}
	}
	want := map[evidence.Channel][]string{
		evidence.Energy:      {"energy_import"},
		evidence.Power:       {"power"},
		evidence.Aggregates:  {"period_end", "energy_import_15min", "power_active_min_15min", "power_active_avg_15min", "power_active_max_15min"},
		evidence.DailyTotals: {"period_end", "energy_import_day"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("columns %v, want %v", got, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Run(ctx); err != nil { // lets go of the history
		t.Fatal(err)
	}
}

// Every word for a channel means one, and raw frames are among the channels only
// where they are named.
func TestChannelWords(t *testing.T) {
	all := Channels(append(configs.AllChannels(), configs.RawFrames))
	seen := map[evidence.Channel]bool{}
	for i, ch := range all {
		if ch == 0 || seen[ch] {
			t.Errorf("channel %d of %v", i, all)
		}
		seen[ch] = true
	}
	if keep := record.Granted("bank-a", Channels(configs.AllChannels())); keep(evidence.RawBlock{Channel: evidence.RawFrames}) {
		t.Error("a lender that is granted all the usual channels gets raw frames")
	}
	if keep := record.Granted("bank-a", Channels([]configs.Channel{configs.RawFrames})); !keep(evidence.RawBlock{Channel: evidence.RawFrames}) {
		t.Error("a lender that is granted raw frames does not get them")
	}
}
