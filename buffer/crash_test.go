package buffer

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/buffer/vfs/crashfs"
)

// model is what the promises in README.md allow a log to hold.
type model struct {
	durable  map[uint64]string   // content of records that were durable
	tried    map[uint64][]string // contents given to Append since then
	acked    uint64              // Durable, as last seen
	next     uint64              // no record can be found from here on
	firstMin uint64              // First after the last Trim that succeeded
	firstMax uint64              // the most any Trim may have dropped
	saved    map[string]uint64   // cursors that were durable
	cursors  map[string]uint64   // cursors as last set
	life     int                 // counts restarts, so that no two lives write the same record
}

func newModel() *model {
	return &model{durable: map[uint64]string{}, tried: map[uint64][]string{},
		saved: map[string]uint64{}, cursors: map[string]uint64{}}
}

// saw takes note of what the log calls durable.
func (m *model) saw(l *Log) {
	for d := l.Durable(); m.acked < d; m.acked++ {
		tried := m.tried[m.acked]
		m.durable[m.acked] = tried[len(tried)-1]
		delete(m.tried, m.acked)
	}
}

// check compares a log just opened with the model, and takes over what it
// found: that is durable from now on.
func (m *model) check(l *Log, r Recovery) error {
	// A file set aside is kept on purpose, see README.md.
	r.Faults = slices.DeleteFunc(r.Faults, func(f string) bool { return strings.HasSuffix(f, "set aside by an earlier recovery") })
	switch {
	case len(r.Faults) > 0 || len(r.Damaged) > 0 || r.TailLost || r.StateLost:
		return fmt.Errorf("false alarm: %+v", r)
	case r.First < m.firstMin || r.First > m.firstMax:
		return fmt.Errorf("begins at %d, want %d to %d", r.First, m.firstMin, m.firstMax)
	case r.Next < m.acked || r.Next > m.next:
		return fmt.Errorf("ends at %d, want %d to %d", r.Next, m.acked, m.next)
	case l.Durable() != r.Next || l.Next() != r.Next || l.First() != r.First:
		return fmt.Errorf("log %d-%d/%d, recovery %+v", l.First(), l.Next(), l.Durable(), r)
	}
	for seq := r.First; seq < r.Next; seq++ {
		b, err := l.Read(seq, nil)
		if err != nil {
			return err
		}
		if want, ok := m.durable[seq]; ok && want != string(b) {
			return fmt.Errorf("record %d is %q, want %q", seq, b, want)
		} else if !ok && !slices.Contains(m.tried[seq], string(b)) {
			return fmt.Errorf("record %d is %q, never appended", seq, b)
		}
		m.durable[seq] = string(b)
	}
	got := l.Cursors()
	for name, at := range got {
		if at < m.saved[name] || at > m.cursors[name] {
			return fmt.Errorf("cursor %s at %d, want %d to %d", name, at, m.saved[name], m.cursors[name])
		}
	}
	for name := range m.saved {
		if _, ok := got[name]; !ok {
			return fmt.Errorf("cursor %s is gone", name)
		}
	}
	m.tried = map[uint64][]string{}
	m.acked, m.next, m.cursors = r.Next, r.Next, got
	m.life++
	return nil
}

func (m *model) clone() *model {
	c := *m
	c.durable, c.tried, c.saved, c.cursors = cloneMap(m.durable), cloneMap(m.tried), cloneMap(m.saved), cloneMap(m.cursors)
	return &c
}

func cloneMap[K comparable, V any](m map[K]V) map[K]V {
	c := map[K]V{}
	for k, v := range m {
		c[k] = v
	}
	return c
}

func (m *model) append(l *Log, size int) error {
	seq := l.Next()
	rec := fmt.Sprintf("record %d of life %d %s", seq, m.life, strings.Repeat("x", size))
	m.tried[seq] = append(slices.Clone(m.tried[seq]), rec)
	m.next = max(m.next, seq+1)
	_, err := l.Append([]byte(rec))
	m.saw(l)
	return err
}

func (m *model) sync(l *Log) error {
	err := l.Sync()
	m.saw(l)
	if err == nil {
		m.saved = cloneMap(m.cursors)
	}
	return err
}

func (m *model) move(l *Log, name string, to uint64) error {
	if _, ok := m.cursors[name]; !ok {
		m.cursors[name] = l.First()
	}
	c, err := l.Cursor(name)
	if err != nil {
		return err
	}
	m.cursors[name] = max(c.Get(), to)
	return c.Set(to)
}

func (m *model) trim(l *Log, to uint64) error {
	if l.newest != nil {
		m.firstMax = max(m.firstMax, min(to, l.newest.first))
	}
	t, err := l.TrimTo(to)
	if err == nil {
		m.firstMin = t.Hi
	}
	return err
}

// work does n random things to a log. It returns the first error.
func (m *model) work(l *Log, r *rand.Rand, n int) error {
	for range n {
		var err error
		switch k := r.IntN(16); {
		case k < 9:
			size := r.IntN(100)
			if r.IntN(8) == 0 {
				size = 600 + r.IntN(900) // over several sectors
			}
			err = m.append(l, size)
		case k < 12:
			err = m.sync(l)
		case k < 14:
			if d := l.Durable(); d > l.First() {
				err = m.move(l, []string{"bank-a", "bank-b"}[r.IntN(2)], l.First()+r.Uint64N(d-l.First()+1))
			}
		default:
			if d := l.Durable(); d > l.First() {
				err = m.trim(l, l.First()+r.Uint64N(d-l.First()+1))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lifetime opens the log, compares it with the model, works, and closes it or
// is killed.
func (m *model) lifetime(fsys *crashfs.FS, wrap func(vfs.FS) vfs.FS, o Options, r *rand.Rand, n int) (checkErr, err error) {
	fsys.Kill()
	l, rec, err := Open(wrap(fsys), dir, o)
	if err != nil {
		return nil, err
	}
	if err := m.check(l, rec); err != nil {
		if errors.Is(err, crashfs.ErrCrashed) {
			return nil, err
		}
		return err, nil
	}
	if err := m.work(l, r, n); err != nil {
		return nil, err
	}
	if r.IntN(2) == 0 {
		return nil, nil // killed
	}
	return nil, m.close(l)
}

func (m *model) close(l *Log) error {
	err := l.Close()
	if err == nil {
		m.saved = cloneMap(m.cursors)
	}
	m.saw(l)
	return err
}

// crashStates runs a random history with a crash at every operation, looks at
// what each way of crashing left, lets a second life run into a second crash,
// and looks again. It returns how many states it saw and the first fault.
func crashStates(wrap func(vfs.FS) vfs.FS, seeds int, extra int) (states int, fault error) {
	for seed := range uint64(seeds) {
		o := Options{SegmentBytes: []int64{256, 1024, 3000}[seed%3], SyncEvery: []int{0, 1, 4}[seed/3%3]}
		for at := 1; ; at++ {
			fsys, m := crashfs.New(), newModel()
			fsys.CrashAt = at
			checkErr, err := m.lifetime(fsys, wrap, o, rand.New(rand.NewPCG(seed, 1)), 14)
			if checkErr == nil && err == nil {
				checkErr, err = m.lifetime(fsys, wrap, o, rand.New(rand.NewPCG(seed, 2)), 14)
			}
			if checkErr != nil {
				return states, fmt.Errorf("seed %d, before the crash: %w", seed, checkErr)
			}
			if err == nil {
				break // the history is over
			}
			if !errors.Is(err, crashfs.ErrCrashed) {
				return states, fmt.Errorf("seed %d, operation %d: %w", seed, at, err)
			}
			for _, mode := range append(crashfs.Modes(), killed) {
				tries := extra
				if mode == crashfs.Nothing || mode == crashfs.Everything {
					tries = 1
				}
				for try := range tries {
					states++
					r := rand.New(rand.NewPCG(seed<<32|uint64(at), uint64(try)))
					if err := afterCrash(wrap, fsys.Clone(), m.clone(), o, mode, r); err != nil {
						return states, fmt.Errorf("seed %d, crash at operation %d, %s, try %d: %w", seed, at, mode, try, err)
					}
				}
			}
		}
	}
	return states, nil
}

// killed is the crash of the process alone.
const killed crashfs.Mode = "killed"

// afterCrash crashes three times, sooner or later: often enough within the
// recovery from the crash before.
func afterCrash(wrap func(vfs.FS) vfs.FS, fsys *crashfs.FS, m *model, o Options, mode crashfs.Mode, r *rand.Rand) error {
	for range 3 {
		if fsys.Kill(); mode != killed {
			fsys.Crash(mode, r)
		}
		fsys.CrashAt = fsys.Ops() + 1 + r.IntN(60)
		checkErr, err := m.lifetime(fsys, wrap, o, r, 10)
		if checkErr != nil {
			return checkErr
		}
		if err != nil && !errors.Is(err, crashfs.ErrCrashed) {
			return err
		}
		mode = append(crashfs.Modes(), killed)[r.IntN(7)]
	}
	fsys.Crash(crashfs.Modes()[r.IntN(6)], r)
	checkErr, err := m.lifetime(fsys, wrap, o, r, 0)
	return errors.Join(checkErr, err)
}

func plain(f vfs.FS) vfs.FS { return f }

// histories is how many random histories the crash and fault tests go
// through: go test ./buffer -run Every -histories 500
var histories = flag.Int("histories", 3, "random histories per crash and fault test")

func TestEveryCrashState(t *testing.T) {
	t.Parallel()
	states, fault := crashStates(plain, *histories, 2)
	if fault != nil {
		t.Fatal(fault)
	}
	t.Logf("0 of %d crash states lost, altered or invented a record", states)
	if states < 300**histories {
		t.Errorf("only %d states", states)
	}
}

// mutant is a file system that leaves out some of the syncs it is asked for,
// as a log would that forgot them.
type mutant struct {
	vfs.FS
	skip    func(name string) bool // fsync of this file does nothing
	late    bool                   // fsync happens with the next one
	skipDir bool
	lazy    bool // a write that changes nothing does nothing
	due     *[]vfs.File
}

func (m mutant) Create(name string) (vfs.File, error)   { return m.wrap(m.FS.Create(name))(name) }
func (m mutant) Open(name string) (vfs.File, error)     { return m.wrap(m.FS.Open(name))(name) }
func (m mutant) OpenRead(name string) (vfs.File, error) { return m.wrap(m.FS.OpenRead(name))(name) }

func (m mutant) wrap(f vfs.File, err error) func(string) (vfs.File, error) {
	return func(name string) (vfs.File, error) {
		if err != nil {
			return nil, err
		}
		return mutantFile{f, m, filepath.Base(name)}, nil
	}
}

func (m mutant) SyncDir(dir string) error {
	if m.skipDir {
		return nil
	}
	return m.FS.SyncDir(dir)
}

type mutantFile struct {
	vfs.File
	m    mutant
	name string
}

func (f mutantFile) WriteAt(p []byte, off int64) (int, error) {
	if old := make([]byte, len(p)); f.m.lazy {
		if n, _ := f.File.ReadAt(old, off); n == len(p) && bytes.Equal(old, p) {
			return n, nil
		}
	}
	return f.File.WriteAt(p, off)
}

func (f mutantFile) Sync() error {
	switch {
	case f.m.late:
		for _, old := range *f.m.due {
			old.Sync() // of a closed file: too late indeed
		}
		*f.m.due = []vfs.File{f.File}
		return nil
	case f.m.skip != nil && f.m.skip(f.name):
		return nil
	}
	return f.File.Sync()
}

// A checker that cannot fail proves nothing: each of these forgets one kind
// of sync, and each must be caught.
func TestCrashStatesCatchMutants(t *testing.T) {
	isSegment := func(name string) bool { return strings.HasSuffix(name, segmentSuffix) }
	mutants := map[string]func(vfs.FS) vfs.FS{
		"no fsync":              func(f vfs.FS) vfs.FS { return mutant{FS: f, skip: func(string) bool { return true }} },
		"no fsync of segments":  func(f vfs.FS) vfs.FS { return mutant{FS: f, skip: isSegment} },
		"no fsync of the state": func(f vfs.FS) vfs.FS { return mutant{FS: f, skip: func(n string) bool { return n == stateName }} },
		"no fsync of new files": func(f vfs.FS) vfs.FS {
			return mutant{FS: f, skip: func(n string) bool { return strings.HasSuffix(n, ".new") }}
		},
		"no directory fsync":        func(f vfs.FS) vfs.FS { return mutant{FS: f, skipDir: true} },
		"acknowledged before fsync": func(f vfs.FS) vfs.FS { return mutant{FS: f, late: true, due: new([]vfs.File)} },
	}
	for name, wrap := range mutants {
		t.Run(name, func(t *testing.T) {
			states, fault := crashStates(wrap, 18, 3)
			if fault == nil {
				t.Fatalf("not caught in %d crash states", states)
			}
			t.Logf("caught after %d states: %v", states, fault)
		})
	}
}

// Every operation fails once, or for good from then on, in every way a disk
// fails; the log says so, loses nothing it had acknowledged, and goes on.
func TestEveryOperationFails(t *testing.T) {
	t.Parallel()
	if fault := everyOperationFails(plain, max(1, *histories/3)); fault != nil {
		t.Fatal(fault)
	}
}

// After a failed fsync a second one succeeds and proves nothing. A log that
// does not write again what it found in memory must be caught: here a write
// that changes nothing does nothing.
func TestFailuresCatchMutant(t *testing.T) {
	fault := everyOperationFails(func(f vfs.FS) vfs.FS { return mutant{FS: f, lazy: true} }, 3)
	if fault == nil {
		t.Fatal("not caught")
	}
	t.Log("caught:", fault)
}

func everyOperationFails(wrap func(vfs.FS) vfs.FS, seeds int) error {
	type way struct {
		name    string
		fault   crashfs.Fault
		forGood bool
	}
	ways := []way{
		{"EIO", crashfs.Fault{Err: syscall.EIO}, false},
		{"EIO after a short write", crashfs.Fault{Err: syscall.EIO, Partial: 20}, false},
		{"EIO after the whole write", crashfs.Fault{Err: syscall.EIO, Partial: 1 << 30}, false},
		{"ENOSPC after a short write", crashfs.Fault{Err: syscall.ENOSPC, Partial: 7}, false},
		{"EROFS for good", crashfs.Fault{Err: syscall.EROFS}, true},
	}
	for _, w := range ways {
		for seed := range uint64(seeds) {
			for at, done := 0, false; !done; at++ {
				done = true
				hit := false // in the present life
				fsys, m := crashfs.New(), newModel()
				o := Options{SegmentBytes: 400, SyncEvery: 3}
				fsys.Inject = func(op crashfs.Op) crashfs.Fault {
					reading := op.Kind == crashfs.Read || op.Kind == crashfs.Size || op.Kind == crashfs.ReadDir || op.Kind == crashfs.Open
					if op.N == at || w.forGood && op.N > at && !reading {
						hit, done = true, false
						return w.fault
					}
					return crashfs.Fault{}
				}
				if err := withFaults(wrap, fsys, m, o, seed, &hit); err != nil {
					return fmt.Errorf("%s, seed %d, operation %d: %w", w.name, seed, at, err)
				}
			}
		}
	}
	return nil
}

// withFaults works through errors as the agent does: go on after an error
// that allows it, start again after ErrSync, and lose power at the end.
func withFaults(wrap func(vfs.FS) vfs.FS, fsys *crashfs.FS, m *model, o Options, seed uint64, hit *bool) error {
	r := rand.New(rand.NewPCG(seed, 3))
	for range 4 {
		*hit = false
		fsys.Kill()
		l, rec, err := Open(wrap(fsys), dir, o)
		if err != nil {
			continue
		}
		if err := m.check(l, rec); err != nil {
			if *hit {
				continue // it saw what the disk showed it; the next one must see it right
			}
			return err
		}
		for range 12 {
			if err := m.work(l, r, 1); errors.Is(err, ErrSync) {
				break
			}
		}
		if r.IntN(2) == 0 {
			m.close(l)
		}
	}
	for _, mode := range crashfs.Modes() {
		fsys, m := fsys.Clone(), m.clone()
		fsys.Crash(mode, r)
		l, rec, err := Open(fsys, dir, o)
		if err != nil {
			return err
		}
		if err := m.check(l, rec); err != nil {
			return fmt.Errorf("%s: %w", mode, err)
		}
		if err := m.append(l, 10); err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}
