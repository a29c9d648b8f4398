//go:build integration

package report

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

// crowded is a log with more of everything than fits: meters with long names,
// gaps, restarts, events, leaves that do not verify.
func crowded(t testing.TB, days int) []byte {
	t.Helper()
	const meters, windowMS = 30, 3_600_000
	d := evidence.Dictionary{Channels: map[evidence.Channel][]evidence.ChannelMeter{}}
	for i := range meters {
		d.Meters = append(d.Meters, evidence.Meter{Name: fmt.Sprintf("注塑车间第%02d号电表 with a name that is longer than any column", i), Profile: "sim", IntervalMS: windowMS})
		d.Channels[evidence.Energy] = append(d.Channels[evidence.Energy], evidence.ChannelMeter{Meter: i,
			Columns: []evidence.Column{{Quantity: "energy_import", Unit: "kWh", Exp: -4, MulCoef: 8000}}})
	}
	w, genesis, err := seal.NewWriter(evidence.NewEd25519Signer(evidencetest.Key(1), "file, as a box with much to say about it writes"), evidencetest.Secret(),
		evidence.Genesis{Event: evidencetest.Point(0), Dictionary: d})
	s := evidencetest.Stream{Writer: w}
	s.Add(t, genesis, err)
	for k := range days * 24 {
		e := evidencetest.Event(k, windowMS)
		point := e
		point.Duration = 0
		if k%30 == 3 {
			leaf, err := w.Events(point, []evidence.Happening{{At: e.Start, Kind: "check_failed", Subject: d.Meters[k%meters].Name, Quantity: fmt.Sprint("a check with a long name ", k), Count: 12_345_678}})
			s.Add(t, leaf, err)
		}
		if k%50 == 7 {
			leaf, err := w.Boot(point, evidence.Boot{Software: fmt.Sprint("a version with a long name ", k)})
			s.Add(t, leaf, err)
			continue
		}
		var data []evidence.Samples
		for i := range meters {
			data = append(data, evidence.Samples{Slots: 1, Values: [][]int64{{int64(123_456_789 + k*(i+1)*10_000)}}})
			if (k+i)%7 == 0 {
				data[i].Codes = [][]evidence.Code{{evidence.BadFrame}}
			}
		}
		leaf, err := w.Window(e, map[evidence.Channel][]evidence.Samples{evidence.Energy: data}, nil)
		s.Add(t, leaf, err)
		switch last := len(s.Deliveries) - 1; {
		case k%97 == 5 && k > 5:
			s.Deliveries[last] = nil
		case k%97 == 50:
			s.Deliveries[last] = damaged(s.Deliveries[last])
		}
	}
	return pack(t, s.Deliveries)
}

// The page is two sheets of paper, and nothing on them is cut off.
func TestPrintsOnTwoSheets(t *testing.T) {
	for name, c := range map[string]struct {
		bundle []byte
		lang   Lang
	}{
		"a month":                   {pack(t, newStory(t, 31)), Chinese},
		"crowded, two months":       {crowded(t, 60), Chinese},
		"crowded, in English":       {crowded(t, 60), English},
		"crowded, more than a year": {crowded(t, 420), Chinese},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file, pdf := filepath.Join(dir, "page.html"), filepath.Join(dir, "page.pdf")
			if err := os.WriteFile(file, []byte(measuring(pageOf(t, c.bundle, c.lang))), 0o600); err != nil {
				t.Fatal(err)
			}
			chromium(t, dir, "--no-pdf-header-footer", "--print-to-pdf="+pdf, "file://"+file)
			printed, err := os.ReadFile(pdf)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(regexp.MustCompile(`/Type\s*/Page\b`).FindAll(printed, -1)); n != 2 {
				t.Errorf("%d pages, want 2", n)
			}
			m := regexp.MustCompile(`/Title \(297:(-?\d+) 297:(-?\d+)\)`).FindSubmatch(printed)
			if m == nil {
				t.Fatalf("the sheets are not 297 mm: %s", regexp.MustCompile(`/Title.*`).Find(printed))
			}
			t.Logf("pixels left above the foot: %s and %s", m[1], m[2])
			if m[1][0] == '-' || m[2][0] == '-' {
				t.Error("the text runs into the foot")
			}
		})
	}
}

// measuring makes a page whose title is, for each sheet, its height in
// millimetres and the pixels between its text and its foot.
func measuring(page string) string {
	page = regexp.MustCompile(`<meta http-equiv="Content-Security-Policy"[^>]*>`).ReplaceAllString(page, "")
	return strings.Replace(page, "</body>", `<script>document.title = [...document.querySelectorAll(".sheet")].map(s => {
		const foot = s.querySelector(".foot").getBoundingClientRect().top, text = [...s.children].filter(c => c.className != "foot")
		return Math.round(s.getBoundingClientRect().height * 25.4 / 96) + ":" + Math.round(foot - text.at(-1).getBoundingClientRect().bottom)
	}).join(" ")</script></body>`, 1)
}

func chromium(t *testing.T, dir string, args ...string) {
	t.Helper()
	c := exec.Command("chromium", append([]string{"--headless=new", "--no-sandbox", "--disable-gpu", "--user-data-dir=" + filepath.Join(dir, "profile")}, args...)...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("chromium (Debian packages chromium, fonts-noto-cjk): %v\n%s", err, out)
	}
}
