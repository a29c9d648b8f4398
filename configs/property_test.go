package configs_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/configs"
	"pgregory.net/rapid"
)

// siteText draws a valid site file.
func siteText(t *rapid.T) string {
	var b strings.Builder
	pick := func(what string, from ...string) string { return rapid.SampledFrom(from).Draw(t, what) }
	label := func() string {
		l := rapid.StringMatching(`[示范一厂 A-Za-z0-9:#'"{}\[\],&*!|>%@~?=-]{1,20}`).Draw(t, "label")
		return "'" + strings.ReplaceAll(l, "'", "''") + "'"
	}
	fmt.Fprintf(&b, "site: {name: plant, label: %s}\nlines:\n", label())
	lines := rapid.IntRange(1, 4).Draw(t, "lines")
	serial := make([]bool, lines)
	for i := range lines {
		serial[i] = rapid.Bool().Draw(t, "serial")
		if serial[i] {
			fmt.Fprintf(&b, "  - {name: l%d, port: /dev/tty%d, serial: %s%s}\n", i, i, pick("settings", "9600 8N1", "19200 8e1", "115200 8O2"),
				pick("rs485", "", ", rs485: {rts_on_send: low}", ", rs485: {delay_before: 1ms, delay_after: 100ms}"))
		} else {
			fmt.Fprintf(&b, "  - {name: l%d, tcp: 'HOST%d:502', label: %s}\n", i, i, label())
		}
	}
	b.WriteString("meters:\n")
	window := rapid.SampledFrom([]time.Duration{10 * time.Second, 30 * time.Second, 60 * time.Second, 600 * time.Second}).Draw(t, "window")
	for i := range rapid.IntRange(1, 12).Draw(t, "meters") {
		on := rapid.IntRange(0, lines-1).Draw(t, "line")
		protocol := ""
		if !serial[on] {
			protocol = "protocol: modbus-tcp, "
		}
		interval := window / time.Duration(pick1(t, 1, 2, 5, 10))
		if rapid.Bool().Draw(t, "slow") {
			interval = window * time.Duration(pick1(t, 1, 3, 7))
		}
		fmt.Fprintf(&b, "  - {name: m%d, line: l%d, %saddress: %d, profile: p%d, ct: %s, pt: %s, interval: %s%s}\n",
			i, on, protocol, i+1, i, pick("ct", "200/5", "1", "0.5", "40.25", "600:5"), pick("pt", "1", "10000/100", "35000/100"), interval, pick("timeout", "", ", timeout: 2s"))
	}
	fmt.Fprintf(&b, "window: %s\n", window)
	if rapid.Bool().Draw(t, "lender") {
		fmt.Fprintf(&b, "lenders: [{name: bank, label: %s, broker: %s, username: %s, share: [energy, timing], ack: puback, tls: {ca: ca.pem}}]\n",
			label(), pick("broker", "'mqtts://mq.example'", "'mqtts://[::1]:1'", "mqtts://10.0.0.1:8883"), pick("user", "007", "'yes'", "no", "1e3", "'~'", "'a: b'"))
	}
	fmt.Fprintf(&b, "buffer: {quota: %s, sync_interval: %s}\n", pick("quota", "16MB", "100MiB", "1gb", "16777217 B"), pick("sync", "100ms", "10s", "90s"))
	return b.String()
}

func pick1(t *rapid.T, from ...int) int { return rapid.SampledFrom(from).Draw(t, "n") }

// A valid site written out with every default is valid, and the same.
func TestPropertyReadsBack(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		text := siteText(r)
		s, err := configs.ParseSite("/etc/site.yaml", []byte(text), nil)
		if err != nil {
			r.Fatalf("%v\n%s", err, text)
		}
		again, err := configs.ParseSite("/etc/site.yaml", s.YAML(), nil)
		if err != nil {
			r.Fatalf("%v\n%s", err, s.YAML())
		}
		if string(s.YAML()) != string(again.YAML()) || s.Digest() != again.Digest() {
			r.Fatalf("got\n%s\nwant\n%s", again.YAML(), s.YAML())
		}
	})
}

// The digest is what its documentation says it is.
func TestDigestByHand(t *testing.T) {
	s, err := configs.ParseSite("/etc/site.yaml", []byte("site: {name: a}\nlines: [{name: b, tcp: 'h:1'}]\nmeters: [{name: c, line: b, protocol: modbus-tcp, address: 0, profile: p, ct: 1/2}]\nchannels: [energy]\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := sha256.Sum256([]byte(`tallystick configuration 1
buffer.quota="256MB"
buffer.sync_interval=10s
channels.0="energy"
lines.0.name="b"
lines.0.tcp="h:1"
meters.0.address="0"
meters.0.ct="0.5"
meters.0.interval=10s
meters.0.line="b"
meters.0.name="c"
meters.0.profile="p"
meters.0.protocol="modbus-tcp"
meters.0.pt="1"
site.name="a"
timezone="Asia/Shanghai"
window=1m
`))
	if s.Digest() != want {
		t.Errorf("another digest")
	}
}

// A ratio is accepted exactly when it is a short decimal number, and is then
// that number.
func TestPropertyRatio(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := rapid.Int64Range(1, 99999).Draw(t, "p"), rapid.Int64Range(1, 999).Draw(t, "q")
		var r configs.Ratio
		err := r.UnmarshalText(fmt.Appendf(nil, "%d/%d", p, q))
		exact := big.NewRat(p, q)
		micro := new(big.Rat).Mul(exact, big.NewRat(1_000_000, 1))
		if short := micro.IsInt(); short != (err == nil) && !(short && len(exact.FloatString(6)) > 10) {
			t.Fatalf("%d/%d: %v", p, q, err)
		}
		if err != nil {
			return
		}
		got, _ := new(big.Rat).SetString(r.String())
		if got.Cmp(exact) != 0 || r.Exp > 0 || r.Exp < -6 || r.Exp < 0 && r.Coef%10 == 0 {
			t.Fatalf("%d/%d became %s %+v", p, q, r, r)
		}
		square, _ := new(big.Rat).SetString(r.Times(r).String())
		if square.Cmp(new(big.Rat).Mul(exact, exact)) != 0 {
			t.Fatalf("%s squared became %s", r, r.Times(r))
		}
	})
}

func TestText(t *testing.T) {
	for text, want := range map[string]configs.Size{"256MB": 256_000_000, "1 GiB": 1 << 30, "0B": 0, "12kb": 12000, "7B": 7} {
		var got, again configs.Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %d %v", text, got, err)
		}
		if err := again.UnmarshalText([]byte(got.String())); err != nil || again != got {
			t.Errorf("%s is written %s and read as %d", text, got, again)
		}
	}
	for _, text := range []string{"", "MB", "-1MB", "1.5GB", "1TB", "9999999999999GB", "1 M B", "99999999999999999999B"} {
		var got configs.Size
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %d", text, got)
		}
	}
	for text, want := range map[string]configs.Broker{
		"mqtt://LocalHost": "mqtt://localhost:1883", "mqtts://h/": "mqtts://h:8883", "mqtts://[fe80::1]:1": "mqtts://[fe80::1]:1",
	} {
		var got configs.Broker
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %s %v", text, got, err)
		}
	}
	for _, text := range []string{"mqtt://", "mqtt:///x", "mqtts://0.0.0.0", "mqtts://h:0", "mqtts://h:01", "mqtts://a b", "mqtts://h?x", "mqtts://h#x", "http://h", "mqtts://-h", "mqtts://1.2.3", "mqtt:h", "mqtts://%zz"} {
		var got configs.Broker
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %s", text, got)
		}
	}
}

// C-07: what is refused for its size is refused before it takes memory.
func TestLargeFiles(t *testing.T) {
	for name, text := range map[string]string{
		"1e5 meters":   "site: {name: a}\nlines: [{name: b, port: /dev/b}]\nmeters: [" + strings.Repeat("{name: c},", 100_000) + "]",
		"many meters":  "site: {name: a}\nlines: [{name: b, port: /dev/b}]\nmeters: [" + strings.Repeat("{name: c},", 20_000) + "]",
		"quantities":   good + "    quantities: [" + strings.Repeat("a,", 40_000) + "]\n",
		"channels":     good + "channels: [" + strings.Repeat("energy,", 40_000) + "]\n",
		"lines":        "site: {name: a}\nlines: [" + strings.Repeat("{name: b, port: /b},", 6000) + "]\nmeters: [" + strings.Repeat("{name: c, line: d},", 300) + "]",
		"one long key": "site: " + strings.Repeat("x", 1<<20-10),
		"comments":     good + strings.Repeat("# x\n", 200_000),
		"nested":       strings.Repeat("[", 20_000),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := configs.ParseSite("s", []byte(text), nil)
		runtime.ReadMemStats(&after)
		var e *configs.Error
		if err != nil && (!errors.As(err, &e) || len(e.Error()) > 32<<10) {
			t.Errorf("%s: a message of %d bytes", name, len(err.Error()))
		}
		if name == "1e5 meters" && err.Error() != "s: E-103 the file has about 300014 entries, at most 50000 are read" {
			t.Error(err)
		}
		if taken := (after.TotalAlloc - before.TotalAlloc) >> 20; taken > 64 {
			t.Errorf("%s: %d MB allocated in all", name, taken)
		}
	}
	n := configs.MaxMeters + 1
	var b strings.Builder
	b.WriteString("site: {name: a}\nlines: [{name: b, tcp: 'h:1'}]\nmeters:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {name: m%d, line: b, protocol: modbus-tcp, address: %d, profile: p}\n", i, i%256)
	}
	_, err := configs.ParseSite("s", []byte(b.String()), nil)
	if err == nil || !strings.HasPrefix(err.Error(), "s:4:3: E-164 1025 meters are listed, at most 1024 are read") {
		t.Errorf("%.200v", err)
	}
}

// Any bytes give a complete site or faults that say what, where and which.
func FuzzSite(f *testing.F) {
	for _, name := range []string{"examples/minimal.yaml", "examples/factory.yaml", "examples/lender.yaml"} {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(good))
	f.Add([]byte(strings.ReplaceAll(good, "\n", "\r\n") + "lenders: [{name: a, broker: 'mqtts://h', share: [energy], ack: puback, tls: {cert: x}}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		check := func(err error) {
			var e *configs.Error
			if !errors.As(err, &e) || len(e.Faults) == 0 || len(e.Faults) > 101 {
				t.Fatalf("%T %v", err, err)
			}
			for _, f := range e.Faults {
				if f.Code == "" || f.Msg == "" || f.File != "/etc/s.yaml" {
					t.Errorf("%+v", f)
				}
			}
			e.Render(discard{})
		}
		if _, err := configs.ParseWatch("/etc/s.yaml", data); err != nil {
			check(err)
		}
		s, err := configs.ParseSite("/etc/s.yaml", data, profiles)
		if err != nil {
			check(err)
			return
		}
		again, err := configs.ParseSite("/etc/s.yaml", s.YAML(), profiles)
		if err != nil || again.Digest() != s.Digest() {
			t.Errorf("%v\n%s", err, s.YAML())
		}
	})
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkSite(b *testing.B) {
	var text strings.Builder
	text.WriteString("site: {name: a}\nlines: [{name: b, tcp: 'h:1'}]\nmeters:\n")
	for i := range 50 {
		fmt.Fprintf(&text, "  - {name: m%d, line: b, protocol: modbus-tcp, address: %d, profile: p}\n", i, i)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := configs.ParseSite("s", []byte(text.String()), nil); err != nil {
			b.Fatal(err)
		}
	}
}
