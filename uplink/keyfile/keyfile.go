// Package keyfile keeps private keys in PEM files only their owner can read.
// The box and the lender each have one.
//
// A file holds an Ed25519, P-256 or SM2 key as PKCS #8 in a PRIVATE KEY block
// (RFC 8410, RFC 5915, GM/T 0091-2020; openssl pkey reads all three), and may
// hold further blocks of its owner's. A key that lives in a chip has a file of
// other blocks, under the same rules: ReadBlocks, WriteBlocks.
package keyfile

import (
	"crypto"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/buffer/vfs/private"
	"github.com/tallystick/tallystick/uplink/custody/suite"
)

const (
	keyBlock  = "PRIVATE KEY"
	maxFile   = 16 << 10
	temporary = ".key-*" // a file not yet under its name
)

// Error is a key file that cannot be used. Fix is what to do about it.
type Error struct {
	Path string
	Why  string
	Fix  string
}

func (e *Error) Error() string { return fmt.Sprintf("key file %s: %s", e.Path, e.Why) }

const restore = "restore the file from your backup; with a new key the other side must accept you again"

// Load is LoadSigner for a file that must hold an Ed25519 key.
func Load(path string) (ed25519.PrivateKey, map[string][]byte, error) {
	key, rest, err := LoadSigner(path)
	if err != nil {
		return nil, nil, err
	}
	ed, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, nil, &Error{path, fmt.Sprintf("holds a %T, expected an Ed25519 key", key), restore}
	}
	return ed, rest, nil
}

// LoadSigner reads the key file at path and the blocks beside the key, by type.
// The key is one that suite.Public accepts. A missing file is fs.ErrNotExist;
// anything wrong with an existing one is an *Error.
func LoadSigner(path string) (crypto.Signer, map[string][]byte, error) {
	blocks, err := ReadBlocks(path)
	if err != nil {
		return nil, nil, err
	}
	der, ok := blocks[keyBlock]
	if !ok {
		return nil, nil, &Error{path, "holds no PRIVATE KEY", restore}
	}
	delete(blocks, keyBlock)
	k, err := parsePKCS8(der)
	if err != nil {
		return nil, nil, &Error{path, "the PRIVATE KEY in it is damaged", restore}
	}
	key, ok := k.(crypto.Signer)
	if !ok {
		return nil, nil, &Error{path, fmt.Sprintf("holds a %T, expected an Ed25519, P-256 or SM2 key", k), restore}
	}
	if _, _, err := suite.Public(key); err != nil {
		return nil, nil, &Error{path, "holds " + err.Error(), restore}
	}
	return key, blocks, nil
}

// ReadBlocks reads the PEM blocks of the file at path, by type; errors are
// those of LoadSigner.
func ReadBlocks(path string) (map[string][]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &Error{path, "is a directory, device or pipe, expected a PEM file", "name a file as key: in the configuration"}
	}
	how, err := private.Exposed(path, 0o077)
	if err != nil {
		return nil, err
	}
	if how != "" {
		return nil, &Error{path,
			fmt.Sprintf("other users can read it (%s), so it may no longer be secret", how),
			"if nobody else uses this machine: " + private.Close(path)}
	}
	if info.Size() > maxFile {
		return nil, &Error{path, fmt.Sprintf("%d bytes, expected a PEM file of a few hundred", info.Size()), restore}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	blocks := map[string][]byte{}
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			return blocks, nil
		}
		if _, twice := blocks[b.Type]; twice {
			return nil, &Error{path, "holds two " + b.Type + " blocks, expected one", restore}
		}
		blocks[b.Type] = b.Bytes
	}
}

// Create makes an Ed25519 key and stores it as Save does.
func Create(path string, further ...*pem.Block) (ed25519.PrivateKey, error) {
	key, err := suite.Generate(suite.Ed25519)
	if err != nil {
		return nil, err
	}
	return key.(ed25519.PrivateKey), Save(path, key, further...)
}

// Save stores a key of one of the suites at path with the further blocks
// given, as WriteBlocks does.
func Save(path string, key crypto.Signer, further ...*pem.Block) error {
	der, err := marshalPKCS8(key)
	if err != nil {
		return err
	}
	return WriteBlocks(path, append([]*pem.Block{{Type: keyBlock, Bytes: der}}, further...)...)
}

// WriteBlocks stores blocks, each of another type, in a new file at path,
// durable on return. It never replaces a file: an existing one is fs.ErrExist.
func WriteBlocks(path string, blocks ...*pem.Block) error {
	var data []byte
	for _, b := range blocks {
		data = append(data, pem.EncodeToMemory(b)...)
	}
	if err := vfs.OS().MkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	return writeNew(path, data)
}

// Replace gives the file at by the name path and erases what had that name,
// durable on return: after a power cut either both files are as they were, or
// the old one is gone and path is the other. Where there is no file at by, a
// Replace before it got that far, and only what it may have left is done. Both
// must be in one directory.
//
// Erased means that the last name of the old file is gone from the directory
// and the file system may use its blocks again. It does not mean that nobody
// can find the bytes: flash keeps old pages until it needs them, a journal or a
// snapshot may have a copy, and writing over a file would write elsewhere.
// Where that matters the key belongs in a chip, or the disk under encryption.
func Replace(path, by string) error {
	for _, step := range replacing(path, by) {
		if err := step(); err != nil {
			return fmt.Errorf("replace key file %s by %s: %w", path, by, err)
		}
	}
	return nil
}

// Erase removes the key file at path, durable on return; a missing one is erased
// already. What that is worth Replace says.
func Erase(path string) error {
	err := dropTemporary(path)
	if err == nil {
		if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	if err == nil {
		err = vfs.OS().SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("erase key file %s: %w", path, err)
	}
	return nil
}

// replacing is what Replace does, cut where the power may be.
func replacing(path, by string) []func() error {
	dir := filepath.Dir(path)
	return []func() error{
		func() error { return dropTemporary(path) },
		func() error { return vfs.OS().SyncDir(dir) },
		func() error {
			if filepath.Dir(by) != dir {
				return errors.New("they are in two directories")
			}
			if err := os.Rename(by, path); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		},
		func() error { return vfs.OS().SyncDir(dir) },
	}
}

// dropTemporary removes the second name that a power cut in writeNew can have
// left to the file at path, and that would outlive it.
func dropTemporary(path string) error {
	file, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(filepath.Dir(path), temporary))
	if err != nil {
		return err
	}
	for _, name := range names {
		if other, err := os.Stat(name); err == nil && os.SameFile(file, other) {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeNew puts data at path whole or not at all: a power cut leaves either no
// file or the complete one.
func writeNew(path string, data []byte) error {
	dir := filepath.Dir(path)
	tmp, err := private.CreateTemp(dir, temporary)
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
	return vfs.OS().SyncDir(dir)
}
