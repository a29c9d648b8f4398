package buffer

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tallystick/tallystick/buffer/vfs"
)

// go test ./buffer -run '^$' -bench .
// The directory is the system's temporary one: TMPDIR chooses the disk.

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{64, 12_000} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			l := benchLog(b, Options{QuotaBytes: 64 << 20})
			rec := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := l.Append(rec); err != nil {
					b.Fatal(err)
				}
				if i%10_000 == 9999 {
					if _, err := l.Trim(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// A batch of records and the fsync that makes them durable.
func BenchmarkAppendSync(b *testing.B) {
	for _, batch := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("%dx1000B", batch), func(b *testing.B) {
			l := benchLog(b, Options{})
			rec := make([]byte, 1000)
			b.SetBytes(int64(batch * len(rec)))
			for b.Loop() {
				for range batch {
					if _, err := l.Append(rec); err != nil {
						b.Fatal(err)
					}
				}
				if err := l.Sync(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{64, 12_000} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			l := benchLog(b, Options{})
			rec := make([]byte, size)
			n := uint64(32<<20) / uint64(size)
			for range n {
				if _, err := l.Append(rec); err != nil {
					b.Fatal(err)
				}
			}
			if err := l.Sync(); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			buf := make([]byte, size)
			for seq := uint64(0); b.Loop(); seq++ {
				if _, err := l.Read(seq%n, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Opening 256 MB in segments of 1 MiB, and what the files cost per record.
func BenchmarkOpen256MB(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "log")
	l, _, err := Open(vfs.OS(), dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	const size = 12_000
	rec := make([]byte, size)
	for l.Bytes() < 256<<20 {
		if _, err := l.Append(rec); err != nil {
			b.Fatal(err)
		}
	}
	overhead := float64(l.Bytes()-int64(l.Next())*size) / float64(l.Next())
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	before := resident(b)
	b.ReportAllocs()
	for b.Loop() {
		l, r, err := Open(vfs.OS(), dir, Options{})
		if err != nil || len(r.Faults) > 0 {
			b.Fatal(err, r)
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(overhead, "overhead-B/record")
	b.ReportMetric(float64(resident(b)-before)/1024, "RSS-growth-KiB")
}

func benchLog(b *testing.B, o Options) *Log {
	b.Helper()
	l, _, err := Open(vfs.OS(), filepath.Join(b.TempDir(), "log"), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	return l
}

// resident is the process's resident memory in bytes, 0 where /proc does not say.
func resident(b *testing.B) int64 {
	b.Helper()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var total, pages int64
	fmt.Sscan(string(statm), &total, &pages)
	return pages * int64(os.Getpagesize())
}
