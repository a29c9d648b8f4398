package crashfs

import (
	"math/rand/v2"
	"slices"
)

func (n *inode) apply(c dataChange) {
	n.data = c.applyTo(n.data)
	n.pending = append(n.pending, c)
}

func (c dataChange) applyTo(data []byte) []byte {
	return c.copyTo(resize(data, c.length(int64(len(data)))), 0, 1<<62)
}

// length is a file's length after the change.
func (c dataChange) length(before int64) int64 {
	if c.data == nil {
		return c.off
	}
	return max(before, c.off+int64(len(c.data)))
}

// copyTo applies the part of the change that lies in lo..hi, within data.
func (c dataChange) copyTo(data []byte, lo, hi int64) []byte {
	hi = min(hi, int64(len(data)))
	if c.data == nil {
		if from := max(lo, c.off); from < hi {
			clear(data[from:hi])
		}
		return data
	}
	from, to := max(lo, c.off), min(hi, c.off+int64(len(c.data)))
	if from < to {
		copy(data[from:to], c.data[from-c.off:])
	}
	return data
}

func resize(data []byte, n int64) []byte {
	if n < int64(len(data)) {
		return data[:n:n]
	}
	return append(data, make([]byte, n-int64(len(data)))...)
}

// Mode is a rule for what survives a crash.
type Mode string

// The rules, after Pillai et al., "All File Systems Are Not Created Equal"
// (OSDI 2014), section 3. Nothing and Everything are the two ends; Prefix
// keeps all changes of each file up to a random one; Subset keeps random whole
// changes; Torn decides per sector; Garbage is Torn with noise where a file
// has grown without being written.
const (
	Nothing    Mode = "nothing"
	Everything Mode = "everything"
	Prefix     Mode = "prefix"
	Subset     Mode = "subset"
	Torn       Mode = "torn"
	Garbage    Mode = "garbage"
)

// Modes is all of them.
func Modes() []Mode { return []Mode{Nothing, Everything, Prefix, Subset, Torn, Garbage} }

// Crash cuts the power and turns it on again: what the program sees is then
// what the disk has, chosen by mode and r. Open files are dead, locks are gone,
// CrashAt and Inject are off.
func (f *FS) Crash(mode Mode, r *rand.Rand) {
	f.mu.Lock()
	defer f.mu.Unlock()
	done := map[*inode]bool{}
	for _, dir := range f.sortedDirs() {
		d := f.dirs[dir]
		keep := chooser(mode, r, len(d.pending))
		for i, c := range d.pending {
			if keep(i) {
				c.applyTo(d.durable)
			}
		}
		d.pending = nil
		d.entries = map[string]*inode{}
		for _, name := range sortedKeys(d.durable) {
			node := d.durable[name]
			if !done[node] {
				node.crash(mode, r)
				done[node] = true
			}
			d.entries[name] = node
		}
	}
	f.epoch++
	f.crashed, f.CrashAt, f.Inject = false, 0, nil
	f.locked = map[string]bool{}
}

// Kill ends the process and not the power: open files are dead and locks are
// gone, and everything written is still there, durable or not. After CrashAt
// it makes of the power cut that was to come a kill at the same place.
func (f *FS) Kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.crashed {
		f.crashed, f.CrashAt = false, 0
	}
	f.epoch++
	f.locked = map[string]bool{}
}

// chooser decides which of n changes survive as a whole.
func chooser(mode Mode, r *rand.Rand, n int) func(i int) bool {
	switch mode {
	case Nothing:
		return func(int) bool { return false }
	case Everything:
		return func(int) bool { return true }
	case Prefix:
		cut := r.IntN(n + 1)
		return func(i int) bool { return i < cut }
	}
	return func(int) bool { return r.IntN(2) == 0 }
}

func (n *inode) crash(mode Mode, r *rand.Rand) {
	// What a failed fsync gave up may have reached the disk or not.
	data := slices.Clone(n.durable)
	switch mode {
	case Torn, Garbage:
		data = n.torn(data, mode == Garbage, r)
	default:
		keep := chooser(mode, r, len(n.pending))
		for i, c := range n.pending {
			if keep(i) && !c.lost {
				data = c.applyTo(data)
			}
		}
	}
	n.durable, n.data, n.pending = data, slices.Clone(data), nil
}

// torn mixes the versions of a file sector by sector.
func (n *inode) torn(data []byte, garbage bool, r *rand.Rand) []byte {
	before := int64(len(data))
	lengths := []int64{before}
	for _, c := range n.pending {
		lengths = append(lengths, c.length(lengths[len(lengths)-1]))
	}
	size := lengths[r.IntN(len(lengths))]
	data = resize(data, size)
	for lo := int64(0); lo < size; lo += Sector {
		hi := lo + Sector
		var touching []dataChange
		for _, c := range n.pending {
			if c.off < hi && (c.data == nil || c.off+int64(len(c.data)) > lo) {
				touching = append(touching, c)
			}
		}
		if len(touching) == 0 {
			continue
		}
		versions := r.IntN(len(touching) + 1)
		for _, c := range touching[:versions] {
			data = c.copyTo(data, lo, hi)
		}
		if from := max(lo, before); garbage && versions == 0 && from < min(hi, size) {
			for i := from; i < min(hi, size); i++ {
				data[i] = byte(r.Uint32())
			}
		}
	}
	return data
}

func (f *FS) sortedDirs() []string { return sortedKeys(f.dirs) }

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Clone returns an independent copy of what is durable and what is pending, so
// that one history can crash in many ways. Files open in the original are not
// open in the copy.
func (f *FS) Clone() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := New()
	c.Capacity, c.crashed = f.Capacity, f.crashed
	copies := map[*inode]*inode{nil: nil}
	node := func(n *inode) *inode {
		if copies[n] == nil && n != nil {
			copies[n] = &inode{slices.Clone(n.data), slices.Clone(n.durable), slices.Clone(n.pending)}
		}
		return copies[n]
	}
	names := func(m map[string]*inode) map[string]*inode {
		result := map[string]*inode{}
		for name, n := range m {
			result[name] = node(n)
		}
		return result
	}
	for path, d := range f.dirs {
		cd := &directory{entries: names(d.entries), durable: names(d.durable)}
		for _, change := range d.pending {
			cd.pending = append(cd.pending, names(change))
		}
		c.dirs[path] = cd
	}
	return c
}
