//go:build integration

package evidence_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestWorkedExampleByHand runs the commands of the documents with bash, xxd,
// coreutils, python3 and openssl, as a reader would.
func TestWorkedExampleByHand(t *testing.T) {
	dir := t.TempDir()
	vector, err := os.ReadFile(exampleVector)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(exampleVector)), vector, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range example(t, documents[0]) {
		c := exec.Command("bash", "-ec", s.command)
		c.Dir = dir
		out, err := c.CombinedOutput()
		if err != nil || string(out) != s.prints {
			t.Fatalf("%s\n%v, prints\n%s, want\n%s", s.command, err, out, s.prints)
		}
	}
}
