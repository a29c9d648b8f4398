// Package keyfile keeps private keys in PEM files only their owner can read.
// The box and the lender each have one.
//
// A file holds an Ed25519 key as PKCS #8 in a PRIVATE KEY block (RFC 8410;
// openssl pkey reads it), and may hold further blocks of its owner's.
package keyfile

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

const (
	keyBlock = "PRIVATE KEY"
	maxFile  = 16 << 10
)

// Error is a key file that cannot be used. Fix is what to do about it.
type Error struct {
	Path string
	Why  string
	Fix  string
}

func (e *Error) Error() string { return fmt.Sprintf("key file %s: %s", e.Path, e.Why) }

const restore = "restore the file from your backup; with a new key the other side must accept you again"

// Load reads the key file at path and the blocks beside the key, by type. A
// missing file is fs.ErrNotExist; anything wrong with an existing one is an
// *Error.
func Load(path string) (ed25519.PrivateKey, map[string][]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, &Error{path, "is a directory, device or pipe, expected a PEM file", "name a file as key: in the configuration"}
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return nil, nil, &Error{path,
			fmt.Sprintf("other users can read it (mode %04o, expected 0600), so it may no longer be secret", mode),
			"if nobody else uses this machine: chmod 600 " + path}
	}
	if info.Size() > maxFile {
		return nil, nil, &Error{path, fmt.Sprintf("%d bytes, expected a PEM file of a few hundred", info.Size()), restore}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	key, rest, why := parse(data)
	if why != "" {
		return nil, nil, &Error{path, why, restore}
	}
	return key, rest, nil
}

func parse(data []byte) (key ed25519.PrivateKey, rest map[string][]byte, why string) {
	rest = map[string][]byte{}
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			break
		}
		if b.Type != keyBlock {
			rest[b.Type] = b.Bytes
			continue
		}
		k, err := x509.ParsePKCS8PrivateKey(b.Bytes)
		if err != nil {
			return nil, nil, "the PRIVATE KEY in it is damaged"
		}
		var ok bool
		if key, ok = k.(ed25519.PrivateKey); !ok {
			return nil, nil, fmt.Sprintf("holds a %T, expected an Ed25519 key", k)
		}
	}
	if key == nil {
		return nil, nil, "holds no PRIVATE KEY"
	}
	return key, rest, ""
}

// Create makes a key and stores it at path with the further blocks given,
// durable on return. It never replaces a file: an existing one is fs.ErrExist.
func Create(path string, further ...*pem.Block) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	data := pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der})
	for _, b := range further {
		data = append(data, pem.EncodeToMemory(b)...)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return key, writeNew(path, data)
}

// writeNew puts data at path whole or not at all: a power cut leaves either no
// file or the complete one.
func writeNew(path string, data []byte) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil { // fails if path exists
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // a directory cannot be flushed there
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
