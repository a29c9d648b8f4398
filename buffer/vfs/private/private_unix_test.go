//go:build !windows

package private

import (
	"os"
	"testing"
)

func letOthersRead(t *testing.T, path string) {
	t.Helper()
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if how, err := Exposed(path, 0o037); how != "" || err != nil {
		t.Errorf("a group that may read is no other here: %s %v", how, err)
	}
}
