package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/tallystick/tallystick/agent/aggregate"
	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/uplink/evidence"
)

const (
	totalsFile  = "totals"
	totalsEvery = 256     // leaves between two writes of it
	totalsBytes = 8 << 20 // more than 1024 meters come to
)

// totals keeps what the channels made of others go on from. It follows from the
// leaves alone; the file spares a start from reading all of them.
type totals struct {
	*aggregate.Sums
	fsys  vfs.FS
	dir   string
	saved uint64 // leaves that the file has taken
}

// storedTotals is the content of the file.
type storedTotals struct {
	Log  string // its id
	Next uint64 // the first leaf not taken
	Sums *aggregate.Sums
}

// openTotals takes up the totals of h. They are usable beside an error,
// which says what had to be done without.
func openTotals(fsys vfs.FS, s *Site, h *history.Writer) (*totals, error) {
	t := &totals{Sums: aggregate.New(moduli(s), s.Zone), fsys: fsys, dir: s.Dir}
	dict := h.Dictionary()
	if t.Follow(dict); t.Idle() {
		return t, nil
	}
	from, err := t.load(h)
	if err != nil {
		from = h.Source().First()
		t.Forget()
	}
	return t, errors.Join(err, t.replay(h, from))
}

// moduli looks up the ends of counters.
func moduli(s *Site) func(meter, quantity string) int64 {
	type register struct{ meter, quantity string }
	ends := map[register]int64{}
	for _, l := range s.Lines {
		for _, m := range l.Meters {
			for _, c := range m.Columns {
				ends[register{m.Name, c.Name}] = c.Rule.Modulus
			}
		}
	}
	return func(meter, quantity string) int64 { return ends[register{meter, quantity}] }
}

// load reads the file, if it is one of h, and returns the leaf from which
// to go on.
func (t *totals) load(h *history.Writer) (from uint64, err error) {
	name := filepath.Join(t.dir, totalsFile)
	f, err := t.fsys.OpenRead(name)
	if errors.Is(err, fs.ErrNotExist) {
		return h.Source().First(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("totals so far: %w", err)
	}
	defer f.Close()
	stored := storedTotals{Sums: t.Sums}
	if err := json.NewDecoder(io.NewSectionReader(f, 0, totalsBytes)).Decode(&stored); err != nil {
		return 0, fmt.Errorf("totals so far: %s: %w", name, err)
	}
	if stored.Log != h.LogID().String() || stored.Next > h.Next() {
		return 0, fmt.Errorf("totals so far: %s is of log %s up to leaf %d, this is log %s with %d leaves", name, stored.Log, stored.Next, h.LogID(), h.Next())
	}
	return max(stored.Next, h.Source().First()), nil
}

// replay takes the leaves from one on. One that cannot be read is left out: what
// the registers moved meanwhile is in the next difference.
func (t *totals) replay(h *history.Writer, from uint64) error {
	next := h.Next()
	t.saved = from
	if from == next {
		t.Follow(h.Dictionary())
		return nil
	}
	meta, err := h.Source().MetaAt(from)
	if err != nil {
		t.Forget()
		t.Follow(h.Dictionary())
		return fmt.Errorf("totals so far: leaf %d: %w", from, err)
	}
	parsed, err := meta.Parse()
	if err != nil {
		return err
	}
	dict := parsed.Dictionary.Manifest.Dictionary()
	t.Follow(dict)
	var rec []byte
	for n := from; n < next; n++ {
		if rec, err = h.Source().Read(n, rec[:0]); err != nil {
			continue
		}
		d, err := evidence.ParseDelivery(rec)
		if err != nil {
			continue
		}
		if changed := d.Manifest.Dictionary(); changed != nil {
			dict = changed
			t.Follow(dict)
		}
		t.Events(d.Manifest.Events)
		if d.Manifest.Type == evidence.WindowLeaf && !t.Idle() {
			t.window(&d, dict)
		}
	}
	t.Follow(h.Dictionary())
	return nil
}

// window takes a sealed window.
func (t *totals) window(d *evidence.UnverifiedDelivery, dict *evidence.Dictionary) {
	data := map[evidence.Channel][]evidence.Samples{}
	for _, raw := range d.Blocks {
		if raw.Channel != evidence.Energy && raw.Channel != evidence.Power {
			continue
		}
		blk, err := evidence.DecodeBlock(raw.Bytes, dict.Channels[raw.Channel])
		if err != nil {
			return
		}
		data[raw.Channel] = blk.Meters
	}
	t.Sums.Window(d.Manifest.Start, d.Manifest.End(), data)
}

// keep writes the file when it has fallen behind the log, whose next leaf is next.
func (t *totals) keep(log evidence.LogID, next uint64) error {
	if t.Idle() || next < t.saved+totalsEvery {
		return nil
	}
	t.saved = next
	text, err := json.Marshal(storedTotals{Log: log.String(), Next: next, Sums: t.Sums})
	if err != nil {
		return err
	}
	return vfs.Replace(t.fsys, filepath.Join(t.dir, totalsFile), text)
}
