package keyfile

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCreateThenLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "my.key")
	made, err := Create(path, &pem.Block{Type: "SALT", Bytes: []byte{1, 2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	key, rest, err := Load(path)
	if err != nil || !key.Equal(made) || !bytes.Equal(rest["SALT"], []byte{1, 2, 3}) {
		t.Fatalf("loaded another key or block: %v %v", rest, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, want 0600", info.Mode().Perm())
	}
	if _, err := Create(path); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("Create over an existing key: %v, want ErrExist", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".key-*")); len(left) != 0 {
		t.Fatalf("temporary files left: %v", left)
	}
	if _, _, err := Load(path + ".none"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("missing file: %v, want ErrNotExist", err)
	}
}

func TestUnusableFiles(t *testing.T) {
	good := filepath.Join(t.TempDir(), "my.key")
	if _, err := Create(good); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data []byte
		mode os.FileMode
		want string
	}{
		"readable by others": {data, 0o640, "other users can read it (mode 0640, expected 0600)"},
		"empty":              {nil, 0o600, "holds no PRIVATE KEY"},
		"damaged":            {bytes.Replace(data, []byte("MC4C"), []byte("AAAA"), 1), 0o600, "the PRIVATE KEY in it is damaged"},
		"certificate":        {[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), 0o600, "holds no PRIVATE KEY"},
		"huge":               {make([]byte, maxFile+1), 0o600, "expected a PEM file of a few hundred"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "my.key")
			if err := os.WriteFile(path, c.data, c.mode); err != nil {
				t.Fatal(err)
			}
			_, _, err := Load(path)
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) || e.Fix == "" {
				t.Fatalf("error %v, want one about %q that names the file and a fix", err, c.want)
			}
		})
	}
}
