package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/tallystick/tallystick/buffer/vfs"
)

// The state file is drawn in README.md.
const (
	stateName      = "state"
	temporaryState = "state.new"
	stateMagic     = "TALLYSTA"
	slotSize       = 4096
	stateSize      = 2 * slotSize
	slotFixed      = 42 // up to the first cursor

	maxCursors    = 32
	maxCursorName = 64
)

// stateFile is where positions are kept. Guarded by Log.fileMu.
type stateFile struct {
	file       vfs.File // nil until there was space to make it
	generation uint64   // of the newest slot
}

// state is what one slot says.
type state struct {
	generation uint64
	first      uint64            // below it records were trimmed
	durable    uint64            // below it records were fsynced
	cursors    map[string]uint64 // name -> next record to deliver
}

// encode returns one slot. The limits on cursors keep it within slotSize.
func (s state) encode() []byte {
	b := make([]byte, slotFixed, slotSize)
	putPrologue(b, stateMagic)
	binary.LittleEndian.PutUint64(b[16:], s.generation)
	binary.LittleEndian.PutUint64(b[24:], s.first)
	binary.LittleEndian.PutUint64(b[32:], s.durable)
	binary.LittleEndian.PutUint16(b[40:], uint16(len(s.cursors)))
	for _, name := range slices.Sorted(maps.Keys(s.cursors)) {
		b = append(b, byte(len(name)))
		b = append(b, name...)
		b = binary.LittleEndian.AppendUint64(b, s.cursors[name])
	}
	b = binary.LittleEndian.AppendUint32(b, checksum(b[16:]))
	return b[:slotSize]
}

// decodeState is total; its error is errDamaged or a *VersionError.
func decodeState(slot []byte, name string) (state, error) {
	if err := checkPrologue(slot, stateMagic, name); err != nil {
		return state{}, err
	}
	if len(slot) < slotFixed {
		return state{}, errDamaged
	}
	s := state{
		generation: binary.LittleEndian.Uint64(slot[16:]),
		first:      binary.LittleEndian.Uint64(slot[24:]),
		durable:    binary.LittleEndian.Uint64(slot[32:]),
		cursors:    map[string]uint64{},
	}
	at, last := slotFixed, ""
	for range binary.LittleEndian.Uint16(slot[40:]) {
		if at >= len(slot) || at+1+int(slot[at])+8 > len(slot) {
			return state{}, errDamaged
		}
		end := at + 1 + int(slot[at])
		name := string(slot[at+1 : end])
		if !validCursorName(name) || name <= last {
			return state{}, errDamaged
		}
		s.cursors[name] = binary.LittleEndian.Uint64(slot[end:])
		at, last = end+8, name
	}
	if at+4 > len(slot) || binary.LittleEndian.Uint32(slot[at:]) != checksum(slot[16:at]) {
		return state{}, errDamaged
	}
	return s, nil
}

// readState returns the newer of two slots, and errDamaged when neither is
// whole. A slot written by a newer program counts: its *VersionError is
// returned.
func readState(f io.ReaderAt, name string) (state, error) {
	b := make([]byte, stateSize)
	if n, err := f.ReadAt(b, 0); n < len(b) && !errors.Is(err, io.EOF) {
		return state{}, err
	}
	newest, result := state{}, error(errDamaged)
	for _, slot := range [][]byte{b[:slotSize], b[slotSize:]} {
		s, err := decodeState(slot, name)
		if newer := (*VersionError)(nil); errors.As(err, &newer) {
			return state{}, err
		}
		if err == nil && (result != nil || s.generation > newest.generation) {
			newest, result = s, nil
		}
	}
	return newest, result
}

// saveState makes first, durable and the cursors durable. Callers hold fileMu.
func (l *Log) saveState() error {
	l.mu.Lock()
	s := state{generation: l.state.generation + 1, first: l.first, durable: l.durable, cursors: maps.Clone(l.cursors)}
	l.dirty = false
	l.mu.Unlock()
	err := l.writeState(s)
	if err != nil {
		l.mu.Lock()
		l.dirty = true
		l.mu.Unlock()
		return fmt.Errorf("save cursors: %w", err)
	}
	l.state.generation = s.generation
	return nil
}

func (l *Log) writeState(s state) error {
	slot := s.encode()
	at := int64(s.generation%2) * slotSize
	if l.state.file == nil {
		both := make([]byte, stateSize)
		copy(both[at:], slot)
		f, err := l.makeFile(temporaryState, filepath.Join(l.dir, stateName), func(f vfs.File) error {
			_, err := f.WriteAt(both, 0)
			return err
		})
		l.state.file = f
		return err
	}
	// On a retry the same slot is written again, never the good one.
	if _, err := l.state.file.WriteAt(slot, at); err != nil {
		return err
	}
	if err := l.state.file.Sync(); err != nil {
		return l.poison("sync state", err)
	}
	return nil
}

// openState opens and reads the state file. When there is none, or none that
// can be read, present says which.
func (l *Log) openState() (s state, present bool, err error) {
	name := filepath.Join(l.dir, stateName)
	open := l.fs.Open
	if l.o.ReadOnly {
		open = l.fs.OpenRead
	}
	f, err := open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, false, nil
	}
	if err != nil {
		return state{}, true, err
	}
	s, err = readState(f, name)
	if size, sizeErr := f.Size(); err == nil && sizeErr == nil && size == stateSize {
		l.state = stateFile{file: f, generation: s.generation}
		return s, true, nil
	}
	f.Close() // too short to be written in place, or damaged: a new one is made
	return s, true, err
}

// Cursor is one reader's place in the log: the next record it wants, which is
// also the number of records it has done with, counted from 0. Its methods
// may be called from any goroutine.
type Cursor struct {
	log  *Log
	name string
}

// Cursor returns the cursor of that name, making it at First if there is none.
// A name is 1 to 64 of a-z, 0-9, '-', '_' and '.'; a log has at most 32
// cursors. Every cursor holds back deletion by age: remove those no longer in
// use.
func (l *Log) Cursor(name string) (*Cursor, error) {
	if !validCursorName(name) {
		return nil, fmt.Errorf("cursor %q: a name is 1 to %d of a-z, 0-9, '-', '_' and '.'", name, maxCursorName)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.cursors[name]; !ok {
		if err := l.usable(); err != nil {
			return nil, fmt.Errorf("cursor %s: %w", name, err)
		}
		if len(l.cursors) == maxCursors {
			return nil, fmt.Errorf("cursor %s: there are %d already, remove one", name, maxCursors)
		}
		l.cursors[name] = l.first
		l.dirty = true
	}
	return &Cursor{l, name}, nil
}

func validCursorName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return 1 <= len(name) && len(name) <= maxCursorName
}

// Get returns the next record the cursor wants. It may lie below First when
// records were dropped before the cursor passed them.
func (c *Cursor) Get() uint64 {
	c.log.mu.RLock()
	defer c.log.mu.RUnlock()
	return c.log.cursors[c.name]
}

// Set moves the cursor forward to seq; a seq it has passed changes nothing, so
// late and repeated receipts do no harm. The move becomes durable with the
// next Sync or Close; a crash before that takes it back, and the records are
// delivered again. A seq beyond Durable is an error.
func (c *Cursor) Set(seq uint64) error { return c.move(seq, false) }

// Reset moves the cursor to seq in either direction.
func (c *Cursor) Reset(seq uint64) error { return c.move(seq, true) }

func (c *Cursor) move(seq uint64, back bool) error {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.cursors[c.name]
	switch {
	case !ok:
		return fmt.Errorf("move cursor %s to %d: cursor was removed", c.name, seq)
	case seq > l.durable:
		return fmt.Errorf("move cursor %s to %d: the log is durable up to %d", c.name, seq, l.durable)
	case seq == at || seq < at && !back:
		return nil
	}
	if l.o.ReadOnly {
		return ErrReadOnly
	}
	l.cursors[c.name] = seq
	l.dirty = true
	return nil
}

// Cursors returns the position of every cursor by name.
func (l *Log) Cursors() map[string]uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return maps.Clone(l.cursors)
}

// RemoveCursor forgets a cursor. Like a move it is durable with the next
// Sync or Close. Removing one that does not exist is no error.
func (l *Log) RemoveCursor(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.cursors[name]; !ok {
		return nil
	}
	if l.o.ReadOnly {
		return ErrReadOnly
	}
	delete(l.cursors, name)
	l.dirty = true
	return nil
}
