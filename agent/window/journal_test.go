package window

import (
	"math"
	"testing"

	"github.com/tallystick/tallystick/buffer/vfs/crashfs"
)

func TestJournalIsLetGo(t *testing.T) {
	j, _, err := OpenJournal(crashfs.New(), "/open")
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	for range 8 {
		if err := j.Append(make([]byte, 32<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Trim(math.MaxUint64); err != nil {
		t.Fatal(err)
	}
	if kept := j.log.Next() - j.log.First(); kept > 2 {
		t.Fatalf("%d of 8 journal records are kept, want at most one segment's", kept)
	}
}
