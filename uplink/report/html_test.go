package report

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
	"github.com/tallystick/tallystick/uplink/verify"
)

// china is where the story is set.
var china = time.FixedZone("", 8*3600)

func sourceOf(sum verify.Summary) Source {
	return Source{File: "january.tally", SHA256: [32]byte{0xab}, Key: evidencetest.PublicKey(1), Custody: "file", Summary: sum}
}

func pageOf(t testing.TB, bundle []byte, l Lang) string {
	t.Helper()
	b := NewBuilder(china)
	sum := check(t, bundle, b.Add)
	var page bytes.Buffer
	if err := b.HTML(&page, l, sourceOf(sum)); err != nil {
		t.Fatal(err)
	}
	return page.String()
}

// structure is a page without its style sheet and without places: of a path it
// keeps how many fields it has.
func structure(page string) string {
	page = regexp.MustCompile(`(?s)<style>.*</style>`).ReplaceAllString(page, "<style></style>")
	page = regexp.MustCompile(` d="[^"]*"`).ReplaceAllStringFunc(page, func(d string) string { return fmt.Sprintf(" fields=%d", strings.Count(d, "M")) })
	page = regexp.MustCompile(`(?s)<defs>.*</defs>\n`).ReplaceAllString(page, "")
	return regexp.MustCompile(` (x|y|viewBox|stroke-width|style)="[^"]*"`).ReplaceAllString(page, "")
}

func TestPageGolden(t *testing.T) {
	bundle := pack(t, newStory(t, 8))
	golden(t, "page.zh.txt", []byte(structure(pageOf(t, bundle, Chinese))))
	golden(t, "page.en.txt", []byte(structure(pageOf(t, bundle, English))))
}

// A page must not run or load anything, whoever chose the names in it.
func TestPageIsInert(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=https://x.example/>`
	d := evidencetest.Small()
	d.Meters[0].Name = evil
	w, genesis, err := seal.NewWriter(evidence.NewEd25519Signer(evidencetest.Key(1), "file"), evidencetest.Secret(),
		evidence.Genesis{Event: evidencetest.Point(0), Dictionary: d})
	s := evidencetest.Stream{Writer: w}
	s.Add(t, genesis, err)
	events, err := w.Events(evidencetest.Point(0), []evidence.Happening{{At: evidencetest.Start, Kind: evil, Subject: evil, Quantity: evil, Count: 1}})
	s.Add(t, events, err)
	window, err := w.Window(evidencetest.Event(0, evidencetest.SmallMS), evidencetest.SmallWindow(0), nil)
	s.Add(t, window, err)
	b := NewBuilder(time.UTC)
	src := sourceOf(check(t, pack(t, s.Deliveries), b.Add))
	src.File, src.Custody = evil, evil
	var out bytes.Buffer
	if err := b.HTML(&out, Chinese, src); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	for _, bad := range []string{"<script", "<img", "@import", "<link", "<iframe", "url(http"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if m := regexp.MustCompile(`<[^>]* (src|href|on[a-z]+)=`).FindString(page); m != "" {
		t.Errorf("the page has %s", m)
	}
	if !strings.Contains(page, "default-src 'none'") {
		t.Error("no content security policy")
	}
	if !strings.Contains(page, "&lt;script") {
		t.Error("the name is not on the page at all: this test proves nothing")
	}
	if want := `&#39;&#34;&gt;&lt;script&gt;`; !strings.Contains(page, want) {
		t.Error("the file name is not quoted in the command")
	}
}

// Where nothing verifies the page says so and shows no figure of the file.
func TestPageOfAnotherKey(t *testing.T) {
	s := evidencetest.NewStream(t, 2, 3)
	b := NewBuilder(time.UTC)
	src := sourceOf(check(t, pack(t, s.Deliveries), b.Add))
	src.Key = evidencetest.PublicKey(2)
	var out bytes.Buffer
	if err := b.HTML(&out, English, src); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	for _, want := range []string{"wrong-key", "No window in this file verifies", "Nothing: no record in this file verifies.", "not verified", "--key ed25519:…"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(page, "kWh") || strings.Contains(page, "press-1") {
		t.Error("the page shows what did not verify")
	}
}

// What the box declares of leaves it no longer has is the reason of the gap.
func TestDeclaredLossIsTheReason(t *testing.T) {
	if page := pageOf(t, pack(t, eventful(t)), English); !strings.Contains(page, "<td>the box states: quota</td>") {
		t.Error("the page does not give the declared reason")
	}
}

// A meter that is silent is on the page, however many there are.
func TestTheMeterWithFewestValuesIsDrawn(t *testing.T) {
	b := NewBuilder(time.UTC)
	for i := range 20 {
		m := b.meter(fmt.Sprintf("meter-%02d", i))
		m.due, m.have = 100, 100
	}
	b.meters[17].have = 3
	p := newPlot(0, 0)
	p.answers(b, metersDrawn, Chinese)
	if !slices.ContainsFunc(p.Texts, func(l label) bool { return l.Text == "meter-17" }) {
		t.Errorf("%+v", p.Texts)
	}
}

// A leaf of a type this package does not know is told by its name.
func TestUnknownLeafTypesAreTold(t *testing.T) {
	b := NewBuilder(time.UTC)
	lt := evidence.LeafType(9)
	b.Add(verify.Result{Verdict: verify.Verified, Type: lt, Leaf: evidence.Hash{1}, Grade: verify.GradeB,
		Manifest: &evidence.Manifest{Type: lt, Event: evidence.Event{Start: evidencetest.Start}}})
	var out bytes.Buffer
	if err := b.HTML(&out, English, sourceOf(verify.Summary{Verdict: verify.Verified, Leaves: 1})); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "<td>"+lt.String()+"</td>") {
		t.Errorf("%q is not on the page", lt)
	}
}

// The steps of an axis are written as people write them, not as sums of floats.
func TestTicks(t *testing.T) {
	step := 0.2
	for v, want := range map[float64]string{3 * step: "0.6", 0: "0", 250: "250", 0.05: "0.05"} {
		if got := tick(v); got != want {
			t.Errorf("%v is written %q, want %q", v, got, want)
		}
	}
}
