package desk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

const (
	consentsFile  = "consents"
	consentsBytes = 8 << 20 // more than the consents of every lender a site can have
)

// Standing is how the factory stands to one lender, by the records of the log.
type Standing struct {
	Consent *record.Consent // the newest; nil for none
	Leaf    uint64          // that holds it
	// Since is the leaf of the grant it goes back to, Renewed that a consent
	// before that grant had ended.
	Since   uint64
	Renewed bool
	// Lost says that there may have been a consent, or its withdrawal, in leaves
	// the box no longer has.
	Lost bool
}

// Consents keeps what the records of the log say of each lender. It follows from
// the leaves alone; the file bridges those the box has let go.
type Consents struct {
	fsys vfs.FS
	dir  string
	log  evidence.LogID

	saved   uint64   // Next in the file
	stored  bool     // there is a file, of this log
	carried []string // lenders whose consent stands in a log that was put away

	mu    sync.Mutex
	state storedConsents // guarded by mu
}

// storedConsents is the content of the file.
type storedConsents struct {
	Log     string // its id
	Next    uint64 // the first leaf not looked at
	Lost    bool   // leaves were let go unseen
	Lenders map[string]storedConsent
	// Done are the requests that stand in a leaf and whose file may still be
	// there, by their digest.
	Done []string
}

type storedConsent struct {
	Record  []byte // body of the newest consent record
	Leaf    uint64
	Since   uint64
	Renewed bool

	consent record.Consent // what Record says
}

// Leaves is the history that consents are read from.
type Leaves interface {
	LogID() evidence.LogID
	Continues() bool // its genesis names a log before it
	First() uint64   // the oldest leaf there is
	Next() uint64
	Read(n uint64, dst []byte) ([]byte, error) // appends the delivery of leaf n
}

// StandingIn is how the factory stands to a lender by the leaves l, whose agent
// owns dir and may be running.
func StandingIn(dir string, l Leaves, lender string) (Standing, error) {
	c, err := OpenConsents(vfs.OS(), dir, l)
	return c.Of(lender), err
}

// OpenConsents takes up the consents of a log. They are usable beside an error,
// which says what had to be done without.
func OpenConsents(fsys vfs.FS, dir string, l Leaves) (*Consents, error) {
	c := &Consents{fsys: fsys, dir: dir, log: l.LogID()}
	known, err := c.load()
	if l.Continues() && !known { // there may have been some in the log before
		c.state.Lost = true
	}
	c.saved = c.state.Next
	if first := l.First(); c.state.Next < first {
		c.state.Lost, c.state.Next = true, first
	}
	var rec []byte
	for ; c.state.Next < l.Next(); c.state.Next++ {
		var e error
		if rec, e = l.Read(c.state.Next, rec[:0]); e == nil {
			e = c.leaf(rec)
		}
		if e != nil {
			// The file is stored after each record; so what cannot be read
			// here is something else, unless the file is gone as well.
			c.state.Lost = c.state.Lost || !c.stored
		}
	}
	return c, err
}

// carry states in this log what the factory said to its lenders in one that was put
// away: a withdrawal does not end with the disk it was written to. Until then it is
// in force all the same.
func (c *Consents) carry(h History) error {
	for _, lender := range c.carried {
		k := c.state.Lenders[lender]
		if k.Leaf > 0 {
			continue // stated before a crash
		}
		r, err := record.ParseBody(k.Record)
		if err != nil {
			return err
		}
		q := Request{evidence.ConsentLeaf, r}
		if err := c.record(h.Next(), q, func() error { return h.RecordBody(q.Type, q.Record.Body) }); err != nil {
			return err
		}
	}
	c.carried = nil
	return nil
}

// load reads the file; known is whether it says all there was to say. One of another
// log is of a history that was put away.
func (c *Consents) load() (known bool, err error) {
	fresh := storedConsents{Log: c.log.String(), Lenders: map[string]storedConsent{}}
	c.state = fresh
	name := filepath.Join(c.dir, consentsFile)
	f, err := c.fsys.OpenRead(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("consents: %w", err)
	}
	defer f.Close()
	var s storedConsents
	if err := json.NewDecoder(io.NewSectionReader(f, 0, consentsBytes)).Decode(&s); err != nil {
		return false, fmt.Errorf("consents: %s: %w", name, err)
	}
	for lender, k := range s.Lenders {
		if k.consent, err = consentOf(k.Record); err != nil {
			return false, fmt.Errorf("consents: %s: lender %s: %w", name, lender, err)
		}
		s.Lenders[lender] = k
	}
	if s.Lenders == nil {
		s.Lenders = fresh.Lenders
	}
	if c.stored = s.Log == fresh.Log; !c.stored {
		c.carried = slices.Sorted(maps.Keys(s.Lenders))
		for lender, k := range s.Lenders {
			s.Lenders[lender] = storedConsent{Record: k.Record, consent: k.consent}
		}
		s.Log, s.Next, s.Done = fresh.Log, 0, nil
	}
	c.state = s
	return true, nil
}

func consentOf(body []byte) (record.Consent, error) {
	r, err := record.ParseBody(body)
	if err != nil {
		return record.Consent{}, err
	}
	return r.Consent()
}

// leaf looks at leaf state.Next.
func (c *Consents) leaf(delivery []byte) error {
	d, err := evidence.ParseDelivery(delivery)
	if err != nil || !requestable(d.Manifest.Type) {
		return err
	}
	for _, b := range d.Blocks {
		r, err := record.Parse(b.Bytes)
		if err != nil {
			return err
		}
		c.note(c.state.Next, Request{d.Manifest.Type, r})
	}
	return nil
}

// note takes the record in leaf n.
func (c *Consents) note(n uint64, q Request) {
	c.state.Done = append(c.state.Done, q.digest())
	if q.Type != evidence.ConsentLeaf {
		return
	}
	r := q.Record
	now, err := r.Consent()
	if err != nil || r.For == "" {
		return // it is shown as it is, and has no effect
	}
	k := storedConsent{Record: slices.Clone(r.Body), Leaf: n, Since: n, consent: now}
	if before, known := c.state.Lenders[r.For]; known {
		was := &before.consent
		if ended := was.Terms == nil || was.Term.Until <= now.Signed.At; ended && now.Terms != nil {
			k.Renewed = true
		} else {
			k.Since, k.Renewed = before.Since, before.Renewed
		}
	}
	c.state.Lenders[r.For] = k
}

// Of is how the factory stands to a lender. From any goroutine.
func (c *Consents) Of(lender string) Standing {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, known := c.state.Lenders[lender]
	if !known {
		return Standing{Lost: c.state.Lost}
	}
	return Standing{Consent: &k.consent, Leaf: k.Leaf, Since: k.Since, Renewed: k.Renewed}
}

// record has a record become leaf n, by write. Nobody learns of the leaf before
// its effect is there.
func (c *Consents) record(n uint64, q Request, write func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := write(); err != nil {
		return err
	}
	c.note(n, q)
	return nil
}

// has reports whether the request of that digest stands in a leaf.
func (c *Consents) has(digest string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.state.Done, digest)
}

// forget is told that no request recorded so far will come again.
func (c *Consents) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Done = nil
}

// save makes what the leaves below next say durable.
func (c *Consents) save(next uint64) error {
	c.mu.Lock()
	c.state.Next = next
	text, err := json.Marshal(c.state)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if err := vfs.Replace(c.fsys, filepath.Join(c.dir, consentsFile), text); err != nil {
		return err
	}
	c.saved, c.stored = next, true
	return nil
}

// Keep saves before the history of next leaves may let go of leaves that the file
// does not know: those below newest, the first of its newest segment.
func (c *Consents) Keep(newest, next uint64) error {
	if c.saved >= newest {
		return nil
	}
	return c.save(next)
}

// CopyConsents brings what is known of the consents of the history of one directory
// beside that of another, which then carries them. Where nothing is known nothing is
// copied.
func CopyConsents(fsys vfs.FS, from, to string) error {
	f, err := fsys.OpenRead(filepath.Join(from, consentsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, 0, consentsBytes))
	if err != nil {
		return err
	}
	return vfs.Replace(fsys, filepath.Join(to, consentsFile), text)
}
