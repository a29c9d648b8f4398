package redecode

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/cmd/internal/assembly"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/drivers/sim"
	"github.com/tallystick/tallystick/drivers/sim/meter"
	"github.com/tallystick/tallystick/drivers/sim/plant"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
	"github.com/tallystick/tallystick/uplink/verify"
)

func builtin(t testing.TB) *profile.Library {
	t.Helper()
	lib := profile.Builtin()
	return lib
}

// device is one simulated meter, alone on a line.
type device struct {
	profile  string
	protocol configs.Protocol
	model    meter.Model // of a meter that names its data
	fault    func(request int) meter.Fault
	site     func(m *configs.Meter)
	lacks    []string // quantities of a Modbus profile the meter refuses
}

func devices() []device {
	return []device{
		{profile: "eastron-sdm630", protocol: configs.ModbusTCP},
		{profile: "acrel-dtsd1352", protocol: configs.ModbusRTU},
		{profile: "peacefair-pzem016", protocol: configs.ModbusRTU},
		{profile: "dlt645-2007-3ph", protocol: configs.DLT645v2007, model: meter.Model{Address: "210000000004"}},
		{profile: "dlt645-2007-1ph", protocol: configs.DLT645v2007, model: meter.Model{Address: "210000000005", Wakeup: 4}},
		{profile: "dlt645-1997", protocol: configs.DLT645v1997, model: meter.Model{Address: "970000000006"}},
		{profile: "cjt188-water", protocol: configs.CJT188, model: meter.Model{Address: "78330000000007", Order: meter.HighFirst}},
		{profile: "cjt188-heat", protocol: configs.CJT188, model: meter.Model{Address: "78330000000008", Order: meter.HighFirst, PlainSER: true}},
		{profile: "iec62056-generic", protocol: configs.IEC62056, model: meter.Model{Address: "12345678", Speed: 9600}},
		{profile: "iec62056-generic", protocol: configs.IEC62056, model: meter.Model{Address: "1"}},
	}
}

// start runs the simulated meters, each on a TCP port, and returns a site that
// reads them with raw frames on.
func start(t testing.TB, devices []device) *configs.Site {
	t.Helper()
	clock, err := plant.NewClock(1, plant.Hold{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	load := plant.ShiftPattern(1, time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC))
	dir := t.TempDir()
	site := &configs.Site{
		Channels: configs.DefaultChannels(), Window: 500 * time.Millisecond, Timezone: configs.DefaultTimezone, Key: filepath.Join(dir, "device.key"),
		Buffer: configs.Buffer{Directory: filepath.Join(dir, "box"), Quota: configs.DefaultQuota, SyncInterval: time.Second},
	}
	var lines []sim.Line
	for i, d := range devices {
		name := fmt.Sprintf("m%02d", i)
		m := configs.Meter{
			Name: configs.Name(name), Line: name, Protocol: d.protocol, Address: configs.MeterAddress(d.model.Address),
			Profile: d.profile, CT: configs.Ratio{Coef: 40}, PT: configs.Ratio{Coef: 1}, Interval: 100 * time.Millisecond, RawFrames: true,
		}
		c := meter.Config{Name: name, Load: load, Clock: clock, Seed: uint64(i), Fault: d.fault}
		line := sim.Line{Kind: sim.RTUOverTCP, Address: "127.0.0.1:0"}
		if d.protocol.Modbus() {
			m.Address = "7"
			if d.protocol == configs.ModbusTCP {
				line.Kind = sim.TCP
			}
			p, err := builtin(t).Get(d.profile)
			if err != nil {
				t.Fatal(err)
			}
			c = c.WithProfile(p)
			if d.lacks != nil {
				c.Ranges = nil // what lies between registers is refused too
				c.Registers = slices.DeleteFunc(slices.Clone(c.Registers), func(r drivers.Register) bool { return slices.Contains(d.lacks, r.Name) })
			}
			m, err := meter.NewModbus(c)
			if err != nil {
				t.Fatal(err)
			}
			line.Units = meter.Units{7: m}
		} else {
			d.model.Name = d.profile
			m, err := meter.NewNamed(c, d.model)
			if err != nil {
				t.Fatal(err)
			}
			line.Stations = []sim.Station{{Meter: m}}
		}
		if d.site != nil {
			d.site(&m)
		}
		lines = append(lines, line)
		site.Meters = append(site.Meters, m)
	}
	f, err := sim.Open(lines...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	for i, l := range f.Lines {
		site.Lines = append(site.Lines, configs.Line{Name: site.Meters[i].Name, TCP: configs.Address(l.Address)})
	}
	return site
}

// record runs the agent on site and returns the bundle of what it sealed.
func record(t testing.TB, site *configs.Site, d time.Duration, rawFrames bool) []byte {
	t.Helper()
	a, err := assembly.Open(site, assembly.Options{Software: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := a.Run(ctx); err != nil {
		t.Fatal(err)
	}
	h, err := history.OpenReader(site.Buffer.Directory)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var b bytes.Buffer
	if err := h.Export(&b, h.First(), h.Next()-1, rawFrames); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// redecode checks a bundle under whatever key it names.
func redecode(t testing.TB, file []byte, lib *profile.Library, only ...string) []*Meter {
	t.Helper()
	br, err := bundle.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	genesis, err := evidence.ParseLeaf(br.Header().Genesis)
	if err != nil {
		t.Fatal(err)
	}
	d := New(lib, only)
	policy := verify.Policy{Pinned: []evidence.PublicKey{genesis.Manifest.Genesis.Key.Key()}}
	sum, err := verify.Bundle(bytes.NewReader(file), policy, func(r verify.Result) { d.Add(&r) })
	if err != nil || sum.Verdict != verify.Verified {
		t.Fatalf("%v, %v %v", err, sum.Verdict, sum.Reasons)
	}
	return d.Meters()
}

// Whatever the protocol, what the meters said gives the values that were signed.
func TestEveryProtocolIsEqual(t *testing.T) {
	t.Parallel()
	ds := devices()
	for _, m := range redecode(t, record(t, start(t, ds), 1000*time.Millisecond, true), builtin(t)) {
		if m.Equal == 0 || m.Different+m.NotCovered != 0 {
			t.Errorf("%s, %s: %d equal, %d different %v, %d not covered %v", m.Name, m.Profile, m.Equal, m.Different, m.Differences, m.NotCovered, m.Gaps)
		} else {
			t.Logf("%s, %s: %d equal", m.Name, m.Profile, m.Equal)
		}
		ds = ds[1:]
	}
	if len(ds) > 0 {
		t.Errorf("no result for %d meters", len(ds))
	}
}

// On a line that garbles, refuses and falls silent nothing comes out different.
func TestFaultsAreNotDifferences(t *testing.T) {
	t.Parallel()
	ds := devices()
	for i := range ds {
		ds[i].fault = func(request int) meter.Fault {
			switch request % 7 {
			case 2:
				return meter.Fault{Noise: []byte{0x55, 0xFE, 0x00}}
			case 4:
				return meter.Fault{Foreign: true}
			case 5:
				return meter.Fault{Silent: true}
			}
			return meter.Fault{}
		}
	}
	ds = slices.DeleteFunc(ds, func(d device) bool { return d.protocol == configs.IEC62056 }) // waits two seconds for each
	for _, m := range redecode(t, record(t, start(t, ds), 1900*time.Millisecond, true), builtin(t)) {
		if m.Equal == 0 || m.Different+m.NotCovered != 0 {
			t.Errorf("%s, %s: %d equal, %d different %v, %d not covered %v", m.Name, m.Profile, m.Equal, m.Different, m.Differences, m.NotCovered, m.Gaps)
		}
	}
}

// What a request spans depends on which channels are sealed and which
// quantities are read; the evidence names only those that are.
func TestFewChannelsAndQuantities(t *testing.T) {
	t.Parallel()
	ds := slices.DeleteFunc(devices(), func(d device) bool { return d.protocol == configs.IEC62056 })
	ds = append(ds, device{profile: "eastron-sdm630", protocol: configs.ModbusASCII, site: func(m *configs.Meter) {
		m.Protocol, m.Quantities = configs.ModbusRTU, []string{"energy_import", "voltage_l2", "power"}
	}})
	site := start(t, ds)
	site.Channels = []configs.Channel{configs.Energy, configs.WaterGas, configs.Timing}
	for _, m := range redecode(t, record(t, site, time.Second, true), builtin(t)) {
		if m.Equal == 0 || m.Different+m.NotCovered != 0 {
			t.Errorf("%s, %s: %d equal, %d different, %d not covered %v", m.Name, m.Profile, m.Equal, m.Different, m.NotCovered, m.Gaps)
		}
	}
}

// A meter that refuses some registers, and what lies between others, is asked in
// pieces that differ from the profile's; the first windows hold the search.
func TestMeterWithHoles(t *testing.T) {
	t.Parallel()
	ds := []device{
		{profile: "eastron-sdm630", protocol: configs.ModbusTCP, lacks: []string{"power_l2", "frequency"}},
		{profile: "acrel-dtsd1352", protocol: configs.ModbusRTU, lacks: []string{"voltage_l2", "energy_import"}},
	}
	for _, m := range redecode(t, record(t, start(t, ds), time.Second, true), builtin(t)) {
		if m.Equal == 0 || m.Different+m.NotCovered != 0 {
			t.Errorf("%s, %s: %d equal, %d different %v, %d not covered %v", m.Name, m.Profile, m.Equal, m.Different, m.Differences, m.NotCovered, m.Gaps)
		}
	}
}

// resigned is a bundle with every window sealed anew under another key, its
// samples and frames as edit leaves them. Only a test can do that.
func resigned(t *testing.T, file []byte, edit func(n uint64, dict *evidence.Dictionary, data map[evidence.Channel][]evidence.Samples)) []byte {
	t.Helper()
	br, err := bundle.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	signer := evidence.NewEd25519Signer(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)), "file")
	var w *seal.Writer
	var dict *evidence.Dictionary // as it was
	var out [][]byte
	for {
		item, err := br.Next()
		if err != nil {
			break
		}
		d, err := evidence.ParseDelivery(item)
		if err != nil {
			t.Fatal(err)
		}
		var sealed []byte
		switch m := &d.Manifest; m.Type {
		case evidence.GenesisLeaf:
			dict = &m.Genesis.Dictionary
			again, bad := evidence.ParseDelivery(bytes.Clone(item))
			if bad != nil {
				t.Fatal(bad)
			}
			g := *again.Manifest.Genesis
			g.Event = m.Event
			edit(0, &g.Dictionary, nil)
			w, sealed, err = seal.NewWriter(signer, make([]byte, 32), g)
		case evidence.WindowLeaf:
			data := map[evidence.Channel][]evidence.Samples{}
			for _, b := range d.Blocks {
				blk, err := evidence.DecodeBlock(b.Bytes, dict.Channels[b.Channel])
				if err != nil {
					t.Fatal(err)
				}
				data[b.Channel] = blk.Meters
			}
			edit(m.N, dict, data)
			sealed, err = w.Window(m.Event, data, m.Beacon)
		case evidence.ShutdownLeaf:
			sealed, err = w.Shutdown(m.Event, m.Shutdown)
		case evidence.EventsLeaf:
			sealed, err = w.Events(m.Event, m.Events)
		default:
			t.Fatalf("leaf of type %v", m.Type)
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, bytes.Clone(sealed))
	}
	var b bytes.Buffer
	bw, err := bundle.NewWriter(&b, bundle.Header{Log: w.LogID(), Hi: uint64(len(out) - 1), Meta: w.Meta()})
	for _, d := range out {
		if err == nil {
			err = bw.Append(d)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// column finds a quantity of a meter.
func column(t *testing.T, dict *evidence.Dictionary, meter, quantity string) (ch evidence.Channel, m, c int) {
	t.Helper()
	for ch, cms := range dict.Channels {
		for i, cm := range cms {
			for c, col := range cm.Columns {
				if dict.Meters[cm.Meter].Name == meter && col.Quantity == quantity {
					return ch, i, c
				}
			}
		}
	}
	t.Fatalf("no %s of %s", quantity, meter)
	return 0, 0, 0
}

// One value changed before it was signed, and the meter's frames say so: which
// meter, which quantity, which leaf. And whatever is not there is not covered,
// with the reason.
func TestWhatIsFound(t *testing.T) {
	t.Parallel()
	file := record(t, start(t, devices()[:3]), 800*time.Millisecond, true)
	none := func(uint64, *evidence.Dictionary, map[evidence.Channel][]evidence.Samples) {}
	honest := redecode(t, resigned(t, file, none), builtin(t))
	for _, m := range honest {
		if m.Equal == 0 || m.Different+m.NotCovered != 0 {
			t.Fatalf("unchanged: %+v", m)
		}
	}
	first := uint64(0)
	changed := redecode(t, resigned(t, file, func(n uint64, dict *evidence.Dictionary, data map[evidence.Channel][]evidence.Samples) {
		ch, m, c := column(t, dict, "m01", "voltage_l2")
		if data == nil || first != 0 {
			return
		}
		for slot := range data[ch][m].Slots {
			if first == 0 && slot > 0 && data[ch][m].Code(c, slot).HasValue() {
				first = n
				data[ch][m].Values[c][slot] += 100
			}
		}
	}), builtin(t))
	for i, m := range changed {
		switch {
		case m.Name != "m01":
			if !reflect.DeepEqual(m, honest[i]) {
				t.Errorf("%s: %+v, want %+v", m.Name, m, honest[i])
			}
		case m.Different != 1 || m.Equal != honest[i].Equal-1 || m.NotCovered != 0:
			t.Errorf("m01: %+v", m)
		default:
			d := m.Differences[0]
			if d.Leaf != first || d.Quantity != "voltage_l2" || !strings.HasSuffix(d.Signed, " V") || d.Signed == d.Decoded {
				t.Errorf("%+v, want leaf %d, voltage_l2", d, first)
			}
		}
	}

	for name, c := range map[string]struct {
		edit func(n uint64, dict *evidence.Dictionary, data map[evidence.Channel][]evidence.Samples)
		lib  *profile.Library
		code string // of m01's only gap; "different" for a difference
	}{
		"another resolution signed": {edit: func(_ uint64, dict *evidence.Dictionary, data map[evidence.Channel][]evidence.Samples) {
			if ch, m, c := column(t, dict, "m01", "voltage_l2"); data == nil {
				dict.Channels[ch][m].Columns[c].Exp++
			}
		}, code: "different"},
		"another profile signed": {edit: func(_ uint64, dict *evidence.Dictionary, data map[evidence.Channel][]evidence.Samples) {
			dict.Meters[1].ProfileHash[0] ^= 1
		}, code: "profile-differs"},
		"a profile nobody has": {edit: func(_ uint64, dict *evidence.Dictionary, data map[evidence.Channel][]evidence.Samples) {
			dict.Meters[1].Profile = "mine"
		}, code: "profile-unknown"},
		"frames of a power cut": {edit: func(_ uint64, _ *evidence.Dictionary, data map[evidence.Channel][]evidence.Samples) {
			if data != nil {
				data[evidence.RawFrames][1].Frames = &evidence.Frames{}
			}
		}, code: "no-exchange"},
		"no room": {edit: func(_ uint64, _ *evidence.Dictionary, data map[evidence.Channel][]evidence.Samples) {
			if data != nil {
				data[evidence.RawFrames][1].Frames = &evidence.Frames{Dropped: 9}
			}
		}, code: "dropped"},
		"replies of another meter": {edit: func(_ uint64, _ *evidence.Dictionary, data map[evidence.Channel][]evidence.Samples) {
			if data != nil {
				for i := range data[evidence.RawFrames][1].Frames.Exchanges {
					data[evidence.RawFrames][1].Frames.Exchanges[i].Reply[0]++
				}
			}
		}, code: "not-in-frames"},
		"switched off for this meter": {edit: func(_ uint64, dict *evidence.Dictionary, data map[evidence.Channel][]evidence.Samples) {
			if data == nil {
				dict.Channels[evidence.RawFrames] = slices.Delete(dict.Channels[evidence.RawFrames], 1, 2)
				return
			}
			data[evidence.RawFrames] = slices.Delete(data[evidence.RawFrames], 1, 2)
		}, code: "not-kept"},
		"no poll times": {edit: func(_ uint64, dict *evidence.Dictionary, data map[evidence.Channel][]evidence.Samples) {
			if data == nil {
				delete(dict.Channels, evidence.Timing)
			}
			delete(data, evidence.Timing)
		}, code: "no-timing"},
	} {
		t.Run(name, func(t *testing.T) {
			ms := redecode(t, resigned(t, file, c.edit), builtin(t), "m01")
			if len(ms) != 1 || ms[0].Name != "m01" {
				t.Fatalf("%d meters, want m01 alone", len(ms))
			}
			switch m := ms[0]; {
			case c.code == "different":
				if m.Different == 0 || m.Differences[0].Quantity != "voltage_l2" || m.NotCovered != 0 {
					t.Errorf("%+v", m)
				}
			case m.Equal+m.Different != 0 || m.NotCovered != honest[1].Equal || len(m.Gaps) != 1 || m.Gaps[0].Code != c.code || m.Gaps[0].Samples != m.NotCovered:
				t.Errorf("%+v, want all %d not covered: %s", m, honest[1].Equal, c.code)
			}
		})
	}
}

// An export is without frames unless they are asked for, and says so.
func TestExportWithoutFrames(t *testing.T) {
	t.Parallel()
	site := start(t, devices()[:1])
	for _, m := range redecode(t, record(t, site, 700*time.Millisecond, false), builtin(t)) {
		if m.Equal != 0 || len(m.Gaps) != 1 || m.Gaps[0].Code != "no-frames-here" {
			t.Errorf("%+v", m)
		}
	}
}

// The profile's resolution is the one compared with.
func TestDisplay(t *testing.T) {
	for want, q := range map[string]drivers.Quantity{"230.1 V": {Unit: "V", Exp: -1}, "2301": {}} {
		if got := display(2301, q.Exp, q.Unit); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// Which exchanges are a poll's: those up to the next poll, whatever was skipped
// between, and though the clock was set back; and none of the next.
func TestExchangesOfAPoll(t *testing.T) {
	p, err := builtin(t).Get("peacefair-pzem016")
	if err != nil {
		t.Fatal(err)
	}
	asked := []byte{0x01, 0x04, 0x00, 0x00, 0x00, 0x0A, 0x70, 0x0D}
	said := func(volts uint16) []byte { // the rest as in drivers/profile/testdata/transcripts
		b := []byte{0x01, 0x04, 0x14, byte(volts >> 8), byte(volts), 0x22, 0x1B, 0, 0, 0x4E, 0x97, 0, 0, 0xE2, 0x40, 0, 1, 1, 0xF4, 0, 0x64, 0, 0}
		sum := uint16(0xFFFF) // Modbus over Serial Line V1.02, section 6.2.2
		for _, c := range b {
			sum ^= uint16(c)
			for range 8 {
				low := sum & 1
				sum = sum>>1 ^ 0xA001*low
			}
		}
		return append(b, byte(sum), byte(sum>>8))
	}
	slot := func(ms, volts int64, code evidence.Code) []sample {
		return []sample{{ms: ms, Value: verify.Value{Polled: true, Code: code, Coef: volts, Column: evidence.Column{Quantity: "voltage", Unit: "V", Exp: -1}}}}
	}
	m := &Meter{}
	m.compare(9, p, &evidence.Frames{Exchanges: []evidence.Exchange{
		{At: -5, Request: asked, Reply: said(2200)}, // of no poll
		{At: 141, Request: asked, Reply: said(2301)},
		{At: 250, Request: asked, Reply: said(2302)},
		{At: 350, Request: asked, Reply: said(2303)},
		{At: 60, Request: asked, Reply: said(2304)},
	}}, [][]sample{
		slot(100, 2301, evidence.OK),
		slot(141, 0, evidence.Skipped), // told when the poll before was over
		slot(250, 2302, evidence.Suspect),
		slot(350, 2303, evidence.OK),
		slot(50, 2304, evidence.OK), // the clock was set back
	})
	if m.Equal != 4 || m.Different+m.NotCovered != 0 {
		t.Errorf("%+v", m)
	}
}
