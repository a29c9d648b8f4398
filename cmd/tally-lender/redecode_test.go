package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

// What a PZEM-016 answers when it shows 230.5 V, as computed in
// drivers/profile/testdata/transcripts.
const (
	pzemAsked = "01 04 00 00 00 0A 70 0D"
	pzemSaid  = "01 04 14 09 01 22 1B 00 00 4E 97 00 00 E2 40 00 01 01 F4 00 64 00 00 55 7C"
)

// framed writes a bundle of one window in which press-1 was read once, as
// volts tenths of a volt, with what crossed the wire.
func framed(t *testing.T, volts int64, said string, edit func(p *evidence.Meter)) (file, key string) {
	t.Helper()
	lib := profile.Builtin()
	p, err := lib.Get("peacefair-pzem016")
	if err != nil {
		t.Fatal(err)
	}
	meter := evidence.Meter{Name: "press-1", Profile: p.ID, ProfileVersion: p.Version, ProfileHash: p.Hash, IntervalMS: 10_000}
	if edit != nil {
		edit(&meter)
	}
	one := func(quantity, unit string, exp int8) []evidence.ChannelMeter {
		return []evidence.ChannelMeter{{Columns: []evidence.Column{{Quantity: quantity, Unit: unit, Exp: exp, MulCoef: 1}}}}
	}
	w, genesis, err := seal.NewWriter(evidence.NewEd25519Signer(evidencetest.Key(1), "file"), make([]byte, 16), evidence.Genesis{
		Event: evidencetest.Point(0),
		Dictionary: evidence.Dictionary{Meters: []evidence.Meter{meter}, Channels: map[evidence.Channel][]evidence.ChannelMeter{
			evidence.VoltageCurrent: one("voltage", "V", -1), evidence.Timing: one("poll_offset", "ms", 0), evidence.RawFrames: one("frames", "", 0),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	genesis = bytes.Clone(genesis)
	event := evidencetest.Point(1)
	event.Duration = 60_000
	window, err := w.Window(event, map[evidence.Channel][]evidence.Samples{
		evidence.VoltageCurrent: {{Slots: 1, Values: [][]int64{{volts}}}},
		evidence.Timing:         {{Slots: 1, Values: [][]int64{{40}}}},
		evidence.RawFrames:      {{Frames: &evidence.Frames{Exchanges: []evidence.Exchange{{At: 41, Took: 30, Request: raw(t, pzemAsked), Reply: raw(t, said)}}}}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	bw, err := bundle.NewWriter(&b, bundle.Header{Log: w.LogID(), Hi: 1, Meta: w.Meta()})
	for _, d := range [][]byte{genesis, window} {
		if err == nil {
			err = bw.Append(d)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "x.tally")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, evidence.Ed25519PublicKey(evidencetest.Key(1).Public().(ed25519.PublicKey)).String()
}

func raw(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRedecodeExitCodes(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		volts                       int64
		said                        string
		edit                        func(*evidence.Meter)
		exit                        int
		equal, different, uncovered float64
		says                        string
	}{
		"equal":                {volts: 2305, said: pzemSaid, equal: 1, says: "press-1: 1 equal"},
		"another value signed": {volts: 2315, said: pzemSaid, exit: 4, different: 1, says: "voltage: signed 231.5 V, the frames say 230.5 V"},
		"no reply":             {volts: 2305, exit: 1, uncovered: 1, says: "hold no reply with the quantity"},
		"another profile":      {volts: 2305, said: pzemSaid, edit: func(m *evidence.Meter) { m.ProfileHash[0] ^= 1 }, exit: 1, uncovered: 1, says: "is not the one that was signed"},
	} {
		t.Run(name, func(t *testing.T) {
			file, key := framed(t, c.volts, c.said, c.edit)
			exit, stdout, stderr := command("redecode", file, "--key", key, "--json", "--profiles", dir)
			var r struct {
				Bundle map[string]any
				Meters []map[string]any
			}
			if err := json.Unmarshal([]byte(stdout), &r); err != nil {
				t.Fatalf("%q: %v", stdout, err)
			}
			if exit != c.exit || r.Bundle["verdict"] != "verified" || len(r.Meters) != 1 || !strings.Contains(stderr, c.says) {
				t.Fatalf("exit %d, want %d and %q\n%s%s", exit, c.exit, c.says, stdout, stderr)
			}
			m := r.Meters[0]
			if m["meter"] != "press-1" || m["equal"] != c.equal || m["different"] != c.different || m["not_covered"] != c.uncovered {
				t.Errorf("%v", m)
			}
		})
	}
}

// A bundle that does not verify is not redeemed by its frames.
func TestRedecodeNeedsAVerifiedBundle(t *testing.T) {
	file, _ := framed(t, 2305, pzemSaid, nil)
	other := evidence.Ed25519PublicKey(evidencetest.Key(2).Public().(ed25519.PublicKey)).String()
	if exit, _, stderr := command("redecode", file, "--key", other); exit != 4 || !strings.Contains(stderr, "wrong-key") {
		t.Errorf("exit %d, %s", exit, stderr)
	}
	if exit, _, stderr := command("redecode", file); exit != 0 || !strings.Contains(stderr, "ed25519:") {
		t.Errorf("exit %d; want the assumed key named\n%s", exit, stderr)
	}
	honest, _ := bundleOf(t, func(ds [][]byte) [][]byte { return ds }) // of a site without raw frames
	if exit, _, stderr := command("redecode", honest); exit != 1 || !strings.Contains(stderr, "not switched on") {
		t.Errorf("exit %d, %s", exit, stderr)
	}
}

func TestRedecodeMistakes(t *testing.T) {
	file, key := framed(t, 2305, pzemSaid, nil)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("meter readings\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		exit int
		says string
		args []string
	}{
		{3, "E-409", []string{text}},
		{3, "no such file", []string{text + ".none"}},
		{2, "--profiles", []string{file, "--profiles", text}},
		{1, "no values of meter press-9", []string{file, "--key", key, "--meter", "press-9"}},
		{0, "press-1: 1 equal", []string{file, "--key", key, "--meter", "press-1"}},
	} {
		if exit, _, stderr := command(append([]string{"redecode"}, c.args...)...); exit != c.exit || !strings.Contains(stderr, c.says) {
			t.Errorf("%v: exit %d, want %d and %q: %s", c.args, exit, c.exit, c.says, stderr)
		}
	}
}
