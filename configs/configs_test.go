package configs_test

import (
	"errors"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/configs"
)

// profileMap is a configs.Profiles.
type profileMap map[string]configs.Profile

func (m profileMap) IDs() []string { return slices.Sorted(maps.Keys(m)) }

func (m profileMap) Profile(id string) (configs.Profile, error) { return m[id], nil }

var profiles = profileMap{
	"eastron-sdm630":   {"modbus", []string{"voltage_l1", "power", "energy_import"}},
	"chint-dtsu666":    {"modbus", []string{"voltage_l1", "energy_import"}},
	"acrel-dtsd1352":   {"modbus", []string{"voltage_l1", "power", "energy_import"}},
	"schneider-pm5110": {"modbus", []string{"power"}},
}

func known(string) (configs.Profiles, error) { return profiles, nil }

// faultsOf is what is wrong with a site file: one line a fault, and as shown to
// people.
func faultsOf(t *testing.T, text string) (list, shown string) {
	t.Helper()
	_, err := configs.ParseSite("site.yaml", []byte(text), profiles)
	if err == nil {
		return "", ""
	}
	var e *configs.Error
	if !errors.As(err, &e) {
		t.Fatalf("%T: %v", err, err)
	}
	var b strings.Builder
	if err := e.Render(&b); err != nil {
		t.Fatal(err)
	}
	return e.Error(), b.String()
}

func TestExamples(t *testing.T) {
	for _, name := range []string{"minimal.yaml", "factory.yaml"} {
		s, err := configs.LoadSite(filepath.Join("examples", name), known)
		if err != nil {
			t.Errorf("%v", err)
		} else if len(s.Warnings) > 0 {
			t.Errorf("%s: %v", name, s.Warnings)
		}
	}
	if w, err := configs.LoadWatch("examples/lender.yaml"); err != nil {
		t.Errorf("%v", err)
	} else if len(w.Warnings) > 0 {
		t.Error(w.Warnings)
	}
}

// The defaults, and what is made of relative paths.
func TestDefaults(t *testing.T) {
	s, err := configs.LoadSite("examples/minimal.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	const want = `site:
    name: workshop
lines:
    - name: bus
      port: /dev/ttyUSB0
      serial: 9600 8N1
meters:
    - name: main
      line: bus
      protocol: modbus-rtu
      address: "1"
      serial: 9600 8N1
      profile: chint-dtsu666
      ct: "1"
      pt: "1"
      interval: 10s
channels:
    - energy
    - power
    - voltage-current
    - reactive
    - frequency
    - timing
    - status
    - water-gas
buffer:
    directory: /var/lib/tallystick
    quota: 256MB
    sync_interval: 10s
window: 1m
timezone: Asia/Shanghai
key: /var/lib/tallystick/device.key
`
	if got := string(s.YAML()); got != want {
		t.Errorf("got\n%s", got)
	}
	f, err := configs.LoadSite("examples/factory.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	dir, _ := filepath.Abs("examples")
	if got, want := f.Lenders[0].TLS.CA, filepath.Join(dir, "tls/bank-a-ca.pem"); got != want {
		t.Errorf("relative path became %s, want %s", got, want)
	}
	if got := f.Lenders[1].Broker; got != "mqtts://broker.leasing.example:8883" {
		t.Errorf("broker %s", got)
	}
	w, err := configs.ParseWatch("/etc/w.yaml", []byte("{name: b, broker: 'mqtts://h', boxes: [{name: x, key: 'ed25519:PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw'}]}"))
	if err != nil {
		t.Fatal(err)
	}
	if w.Key != "/var/lib/tally-lender/lender.key" || w.Patience != configs.DefaultPatience {
		t.Errorf("%+v", w)
	}
}

// A group that is there, though empty, asks for what its defaults say.
func TestRS485Defaults(t *testing.T) {
	for keys, want := range map[string]configs.RS485{
		"":                            {},
		", rs485: {}":                 {RTSOnSend: configs.High},
		", rs485: {delay_after: 2ms}": {RTSOnSend: configs.High, DelayAfter: 2 * time.Millisecond},
	} {
		s, err := configs.ParseSite("site.yaml", []byte(strings.Replace(good, "/dev/ttyUSB0", "/dev/ttyS1"+keys, 1)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Lines[0].RS485; got != want {
			t.Errorf("%q: %+v, want %+v", keys, got, want)
		}
		readsBack(t, s)
	}
}

// What is written out with every default reads back as the same.
func TestYAMLReadsBack(t *testing.T) {
	for _, name := range []string{"minimal.yaml", "factory.yaml"} {
		s, err := configs.LoadSite(filepath.Join("examples", name), known)
		if err != nil {
			t.Fatal(err)
		}
		readsBack(t, s)
	}
}

func readsBack(t *testing.T, s *configs.Site) {
	t.Helper()
	again, err := configs.ParseSite(s.Path, s.YAML(), profiles)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.YAML())
	}
	if s.Digest() != again.Digest() {
		t.Errorf("another digest after reading back\n%s", s.YAML())
	}
	a, b := *s, *again
	a.File, a.Warnings, b.File, b.Warnings = configs.File{}, nil, configs.File{}, nil
	if !reflect.DeepEqual(a, b) {
		t.Errorf("got  %+v\nwant %+v", b, a)
	}
}

const good = `site: {name: demo}
lines:
  - {name: hall-a, port: /dev/ttyUSB0}
meters:
  - name: press-1
    line: hall-a
    address: 7
    profile: eastron-sdm630
`

func TestDigest(t *testing.T) {
	digest := func(text string) string {
		t.Helper()
		s, err := configs.ParseSite("/etc/site.yaml", []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		d := s.Digest()
		return string(d[:])
	}
	base := digest(good)
	for _, same := range []string{
		"# a comment\n" + good,
		good + "window: 1m\n",
		good + "buffer: {directory: /data}\nkey: /data/k\n",
		strings.ReplaceAll(good, "address: 7", "address: 0x7"),
		good + "    ct: 5/5\n",
	} {
		if digest(same) != base {
			t.Errorf("another digest for the same measurement:\n%s", same)
		}
	}
	for _, other := range []string{
		strings.ReplaceAll(good, "address: 7", "address: 8"),
		strings.ReplaceAll(good, "press-1", "press-2"),
		good + "    ct: 200/5\n",
		good + "    interval: 20s\n",
		good + "    label: x\n",
		good + "window: 30s\n",
		good + "channels: [energy]\n",
		good + "lenders: [{name: a, broker: 'mqtts://h', share: [energy], ack: puback}]\n",
	} {
		if digest(other) == base {
			t.Errorf("the same digest for\n%s", other)
		}
	}
}
