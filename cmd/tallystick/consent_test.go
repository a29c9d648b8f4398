//go:build linux

package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	brokers "github.com/tallystick/tallystick/cmd/internal/broker"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/drivers/sim"
	"github.com/tallystick/tallystick/drivers/sim/meter"
	"github.com/tallystick/tallystick/uplink"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/lender"
	"github.com/tallystick/tallystick/uplink/mqtt/mqtttest"
	"github.com/tallystick/tallystick/uplink/verify"
)

// bank is a lender in this process.
type bank struct {
	t   *testing.T
	key evidence.Signer

	mu   sync.Mutex
	seen []verify.Result
}

// newBank makes the key of a lender; follow runs it.
func newBank(t *testing.T, seed byte) *bank {
	return &bank{t: t, key: evidencetest.Signer(seed)}
}

func (b *bank) follow(name, address string, box evidence.PublicKey) {
	b.t.Helper()
	url := new(configs.Broker)
	if err := url.UnmarshalText([]byte("mqtt://" + address)); err != nil {
		b.t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	l, err := lender.New(lender.Config{
		Name: name, Key: b.key, Dir: b.t.TempDir(), Boxes: []lender.Box{{Name: "workshop", Key: box}},
		Dial: func(ctx context.Context) (uplink.Session, error) {
			return brokers.Dial(ctx, &configs.Connection{Broker: *url}, "lender-"+name, nil, log)
		},
		OnWindow: func(_ string, r verify.Result) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.seen = append(b.seen, r)
		},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	b.t.Cleanup(func() { stop(); <-ended })
}

func (b *bank) results() []verify.Result {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.seen)
}

// awaits waits for a result and returns its place.
func (b *bank) awaits(what string, from int, ok func(verify.Result) bool) (at int) {
	b.t.Helper()
	until(b.t, func() bool {
		rs := b.results()
		for at = from; at < len(rs); at++ {
			if ok(rs[at]) {
				return true
			}
		}
		return false
	}, func() string {
		var s strings.Builder
		for _, r := range b.results() {
			fmt.Fprintf(&s, "%d %s %s %d readings %v\n", r.N, r.Type, r.Verdict, r.Readings, r.Reasons)
		}
		return "the lender never sees " + what + ":\n" + s.String()
	})
	return at
}

// channelsOf are the channels a result discloses.
func channelsOf(r verify.Result) (cs []string) {
	if r.Window == nil {
		return nil
	}
	for v := range r.Window.Values() {
		if c := v.Channel.String(); !slices.Contains(cs, c) {
			cs = append(cs, c)
		}
	}
	return cs
}

func consentOf(r verify.Result) record.Act {
	if r.Record == nil || r.Type != evidence.ConsentLeaf {
		return 0
	}
	c, err := r.Record.Consent()
	if err != nil {
		return 0
	}
	return c.Header.Act
}

// fill fills in a form as a factory would.
func fill(form string, with ...string) string {
	form = strings.NewReplacer(`name: "", capacity: ""`, `name: Owner, capacity: legal representative`, `contact: "", licence: ""`, `contact: privacy@bank-a.example, licence: commercial bank`,
		`name: ""`, `name: Bank`, `erasure: ""`, `erasure: erased`, `place: ""`, `place: CN`, `provide: false`, `provide: true`).Replace(form)
	return strings.NewReplacer(with...).Replace(form)
}

// TestConsentFromGrantToWithdrawal: nothing before a consent that is required; then
// what it says; less after a change; nothing but the withdrawal after it, over a
// restart too. Two lenders on one log: each sees its own records, and the log of
// each verifies.
func TestConsentFromGrantToWithdrawal(t *testing.T) {
	t.Parallel()
	address := mqtttest.Broker(t, mqtttest.Anywhere, nil)
	meter, units := meters(t, sim.TCP, "127.0.0.1:0", 7)
	a, b := newBank(t, 11), newBank(t, 12)
	dir, path := site(t, often(tcpSite(meter, fmt.Sprintf(`lenders:
  - {name: bank-a, broker: "mqtt://%s", share: [energy, power, frequency], public_key: "%s", consent: required}
  - {name: bank-b, broker: "mqtt://%s", share: [energy], public_key: "%s"}
`, address, publicOf(a.key), address, publicOf(b.key)))))
	cmd := func(args ...string) string {
		t.Helper()
		var out, errs text
		if exit := run(t.Context(), append(args, "--config", path), &out, &errs); exit != 0 {
			t.Fatalf("%v: exit %d\n%s%s", args, exit, out.String(), errs.String())
		}
		return out.String() + errs.String()
	}
	box, err := evidence.ParsePublicKey(regexp.MustCompile(`ed25519:\S+`).FindString(cmd("key", "show")))
	if err != nil {
		t.Fatal(err)
	}
	a.follow("bank-a", address, box)
	b.follow("bank-b", address, box)
	if said := cmd("check"); !strings.Contains(said, "W-706 lender bank-a: no consent record; nothing is sent") || !strings.Contains(said, "W-706 lender bank-b: no consent record; what the site file shares is sent") {
		t.Errorf("check: %s", said)
	}

	agent := background(t, "run", "--config", path)
	agent.says("W-706 lender bank-a", "W-321")
	withReadings := func(r verify.Result) bool { return r.Readings > 0 }
	again := func() { // a stop seals the open window: nobody waits for its end
		t.Helper()
		agent.stop(0)
		agent = background(t, "run", "--config", path)
		agent.polls(units[7])
	}
	agent.polls(units[7])
	again()
	b.awaits("readings", 0, withReadings)
	if rs := a.results(); len(rs) != 0 {
		t.Fatalf("bank-a sees leaf %d before its consent", rs[0].N)
	}

	form := cmd("consent", "form", "--lender", "bank-a")
	file := put(t, filepath.Join(dir, "consent.yaml"), fill(form))
	if said := cmd("consent", "grant", "--lender", "bank-a", "-f", file); !strings.Contains(said, "recorded in the signed history") || !strings.Contains(said, "单独同意:向接收方提供") {
		t.Errorf("grant: %s", said)
	}
	granted := a.awaits("the grant", 0, func(r verify.Result) bool { return consentOf(r) == record.Grant })
	again()
	first := a.awaits("readings", granted, withReadings)
	if got := channelsOf(a.results()[first]); !slices.Equal(got, []string{"energy", "power", "frequency"}) {
		t.Errorf("granted: channels %q", got)
	}

	put(t, file, fill(form, "channels: [energy, power, frequency]", "channels: [frequency]"))
	cmd("consent", "grant", "--lender", "bank-a", "-f", file)
	changed := a.awaits("the change", 0, func(r verify.Result) bool { return consentOf(r) == record.Change })
	again()
	second := a.awaits("readings", changed, withReadings)
	if got := channelsOf(a.results()[second]); !slices.Equal(got, []string{"frequency"}) {
		t.Errorf("changed: channels %q", got)
	}
	cmd("declare", "closure", "--from", "2030-02-01", "--to", "2030-02-07", "--reason", "春节", "--lender", "bank-a")
	a.awaits("the declaration", changed, func(r verify.Result) bool { return r.Type == evidence.DeclarationLeaf && r.Record != nil })

	if said := cmd("consent", "withdraw", "--lender", "bank-a"); !strings.Contains(said, "recorded in the signed history") {
		t.Errorf("withdraw: %s", said)
	}
	last := a.awaits("the withdrawal", 0, func(r verify.Result) bool { return consentOf(r) == record.Withdraw })
	leaf := a.results()[last].N
	if said := cmd("consent", "show"); !strings.Contains(said, "bank-a: leaf "+fmt.Sprint(leaf)+", consent withdrawn") {
		t.Errorf("show: %s", said)
	}
	again()
	agent.says("W-321")
	after := b.awaits("what comes after the withdrawal", 0, func(r verify.Result) bool { return r.N > leaf && r.Readings > 0 })
	boot := b.awaits("the restart", after, func(r verify.Result) bool { return r.Type == evidence.BootLeaf })

	before := len(a.results())
	began := time.Now()
	agent.stop(0)
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("the stop waits %v for a lender that gets nothing", took)
	}
	b.awaits("readings after the restart", boot, withReadings)
	if rs := a.results(); len(rs) != before || rs[len(rs)-1].N != leaf {
		t.Errorf("after the withdrawal in leaf %d bank-a got leaf %d", leaf, rs[len(rs)-1].N)
	}
	for name, k := range map[string]*bank{"bank-a": a, "bank-b": b} {
		for _, r := range k.results() {
			if r.Verdict != verify.Verified && !(name == "bank-a" && r.N <= a.results()[granted].N) {
				t.Errorf("%s: leaf %d is %s: %v", name, r.N, r.Verdict, r.Reasons)
			}
			if r.Record != nil && r.Record.For != name && r.Record.For != "" {
				t.Errorf("%s sees a record for %s", name, r.Record.For)
			}
			if name == "bank-b" && consentOf(r) != 0 {
				t.Errorf("bank-b sees the consent in leaf %d", r.N)
			}
		}
	}
	if n := b.awaits("the leaf of the withdrawal", 0, func(r verify.Result) bool { return r.N == leaf }); b.results()[n].Record != nil {
		t.Error("bank-b sees what the record for bank-a says")
	}
}

// often is a site file whose meters are polled as often as may be.
func often(site string) string { return strings.ReplaceAll(site, "interval: 1s", "interval: 100ms") }

// polls waits until the agent has polled a meter a few times.
func (r *running) polls(m *meter.Modbus) {
	r.t.Helper()
	before := m.Requests()
	until(r.t, func() bool {
		select {
		case <-r.ended:
			r.t.Fatalf("ended with exit %d:\n%s", r.exit, r.stderr.String())
		default:
		}
		return m.Requests() >= before+4
	}, func() string { return "the meter is not polled:\n" + r.stderr.String() })
}

// TestWithdrawnWhileNotRunning: nothing goes out between the start and the leaf.
func TestWithdrawnWhileNotRunning(t *testing.T) {
	t.Parallel()
	address := mqtttest.Broker(t, mqtttest.Anywhere, nil)
	meter, units := meters(t, sim.TCP, "127.0.0.1:0", 7)
	a := newBank(t, 13)
	dir, path := site(t, often(tcpSite(meter, fmt.Sprintf("lenders:\n  - {name: bank-a, broker: \"mqtt://%s\", share: [energy], public_key: \"%s\"}\n", address, publicOf(a.key)))))
	exit, out, errs := command(t, dir, "consent", "withdraw", "--config", path)
	if exit != 0 || !strings.Contains(errs, "the agent does not run, it is recorded when it starts next, before anything is sent") || !strings.Contains(out, "撤回同意") {
		t.Fatalf("exit %d\n%s%s", exit, out, errs)
	}
	if exit, out, _ := command(t, dir, "consent", "show", "--config", path); exit != 0 || !strings.Contains(out, "waits to be recorded: consent withdrawn") {
		t.Errorf("show: %s", out)
	}
	if exit, _, errs := command(t, dir, "consent", "withdraw", "--config", path); exit != 0 || !strings.Contains(errs, "is withdrawn already") {
		t.Errorf("again: %s", errs)
	}
	var public text
	if run(t.Context(), []string{"key", "show", "--config", path}, &public, new(text)) != 0 {
		t.Fatal("key show")
	}
	box, err := evidence.ParsePublicKey(strings.TrimSpace(public.String()))
	if err != nil {
		t.Fatal(err)
	}
	a.follow("bank-a", address, box)
	agent := background(t, "run", "--config", path)
	at := a.awaits("the withdrawal", 0, func(r verify.Result) bool { return consentOf(r) == record.Withdraw })
	agent.says("W-321")
	for range 2 { // windows
		agent.polls(units[7])
		agent.stop(0)
		agent = background(t, "run", "--config", path)
	}
	agent.polls(units[7])
	agent.stop(0)
	for i, r := range a.results() {
		if r.Readings > 0 || i > at {
			t.Errorf("leaf %d, %s, %d readings", r.N, r.Type, r.Readings)
		}
	}
}

// TestMistakesInAConsent: each says what and what to do, and records nothing.
func TestMistakesInAConsent(t *testing.T) {
	t.Parallel()
	k := newBank(t, 14)
	dir, path := site(t, tcpSite("127.0.0.1:1", "lenders:\n  - {name: bank-a, broker: \"mqtt://127.0.0.1:1\", share: [energy, power], public_key: \""+publicOf(k.key)+"\"}\n"))
	_, form, _ := command(t, "none", "consent", "form", "--config", path)
	for name, c := range map[string]struct {
		edit []string
		want string
	}{
		"another channel":    {[]string{"[energy, power]", "[timing]"}, "E-702 the consent is to channel timing, which the site file does not share with lender bank-a"},
		"no daily":           {[]string{"kind: company", "kind: sole-trader", "channels: [energy, power]", "channels: []"}, "E-702 the consent is to channel daily"},
		"abroad by the way":  {[]string{"export: false}", "export: true}"}, "E-703 separate: export is needed"},
		"nothing given":      {[]string{"provide: true", "provide: false"}, "E-703 separate: provide is needed"},
		"passed on":          {[]string{"onward: []", "onward: [Somebody]"}, "E-703 separate: onward is needed"},
		"too much given":     {[]string{"raw-frames: false", "raw-frames: true"}, "E-704 consent: separate consents"},
		"countersigned by x": {[]string{`countersignature: ""`, `countersignature: "AAAA"`}, "E-705 the countersignature is not lender bank-a's"},
		"kind":               {[]string{"kind: company", "kind: club"}, `factory: kind: expected some of company, sole-trader, natural-person, found "club"`},
		"an unknown key":     {[]string{"erasure:", "erase:"}, `E-107 unknown key "erase"`},
		"over":               {[]string{"until: 2", "until: 1"}, "E-704"},
	} {
		file := put(t, filepath.Join(dir, "f.yaml"), fill(form, c.edit...))
		exit, _, errs := command(t, dir, "consent", "grant", "-f", file, "--config", path)
		if exit != 2 || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit %d, %s", name, exit, errs)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "box/desk")); err == nil {
		t.Error("something was left to be recorded")
	}
	if exit, _, errs := command(t, dir, "consent", "withdraw", "--lender", "bank-x", "--config", path); exit != 2 || !strings.Contains(errs, `E-701 no lender "bank-x"`) {
		t.Errorf("exit %d, %s", exit, errs)
	}
}

// TestSoleTrader: without channels named, daily totals.
func TestSoleTrader(t *testing.T) {
	t.Parallel()
	dir, path := site(t, tcpSite("127.0.0.1:1", "channels: [energy, daily]\nlenders:\n  - {name: bank-a, broker: \"mqtt://127.0.0.1:1\", share: [energy, daily], ack: puback}\n"))
	_, form, _ := command(t, "none", "consent", "form", "--config", path)
	file := put(t, filepath.Join(dir, "f.yaml"), fill(form, "kind: company", "kind: sole-trader", "channels: [energy, daily]", "channels: []"))
	exit, out, errs := command(t, dir, "consent", "grant", "-f", file, "--config", path)
	if exit != 0 || !strings.Contains(out, "数据:日电量;") {
		t.Errorf("exit %d\n%s%s", exit, out, errs)
	}
}

// TestCountersigned: what the lender signed is what is recorded.
func TestCountersigned(t *testing.T) {
	t.Parallel()
	k := newBank(t, 15)
	dir, path := site(t, tcpSite("127.0.0.1:1", "lenders:\n  - {name: bank-a, broker: \"mqtt://127.0.0.1:1\", share: [energy], public_key: \""+publicOf(k.key)+"\"}\n"))
	_, form, _ := command(t, "none", "consent", "form", "--config", path)
	file := put(t, filepath.Join(dir, "f.yaml"), fill(form))
	terms := filepath.Join(dir, "terms")
	if exit, _, errs := command(t, dir, "consent", "terms", "-f", file, "-o", terms, "--config", path); exit != 0 {
		t.Fatal(errs)
	}
	b, err := os.ReadFile(terms)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := record.DecodeTerms(b)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := record.Countersign(k.key, &decoded)
	if err != nil {
		t.Fatal(err)
	}
	signed := []string{`countersignature: ""`, `countersignature: "` + base64url(sig) + `"`}
	put(t, file, fill(form, append(signed, "retention: 365d", "retention: 366d")...))
	if exit, _, errs := command(t, dir, "consent", "grant", "-f", file, "--config", path); exit != 2 || !strings.Contains(errs, "E-705") {
		t.Errorf("other terms than were signed: exit %d, %s", exit, errs)
	}
	put(t, file, fill(form, signed...))
	if exit, _, errs := command(t, dir, "consent", "grant", "-f", file, "--config", path); exit != 0 {
		t.Error(errs)
	}
}

func publicOf(s evidence.Signer) string {
	k := s.Public()
	return k.Key().String()
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
