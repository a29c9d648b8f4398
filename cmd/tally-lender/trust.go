package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/keyfile"
	"github.com/tallystick/tallystick/uplink/lender"
	"github.com/tallystick/tallystick/uplink/verify"
	"github.com/tallystick/tallystick/uplink/witness/checkpoint"
)

// trust is whom a command that checks a bundle believes.
type trust struct {
	keys   []string
	config string
	policy string

	lender string // whose file config is, once it was read; it is who asks
}

func (t *trust) flags(c *cobra.Command) {
	c.Flags().StringArrayVar(&t.keys, "key", nil, "public key of a box to believe (repeatable)")
	c.Flags().StringVarP(&t.config, "config", "c", "", "lender file: believe its boxes, and the receipts of its key")
	c.Flags().StringVar(&t.policy, "policy", "", "policy file: boxes, lenders and witnesses to believe")
}

// pinned reports whether a key was given, by hand or by a file.
func (t *trust) pinned() bool { return len(t.keys) > 0 || t.config != "" || t.policy != "" }

// believed collects what the flags say.
func (t *trust) believed(stderr io.Writer) (boxes []evidence.PublicKey, who verify.Believed, err error) {
	for _, k := range t.keys {
		pub, err := evidence.ParsePublicKey(k)
		if err != nil {
			return nil, who, cli.UsageError("--key: %v", err)
		}
		boxes = append(boxes, pub)
	}
	if t.config != "" {
		w, err := loadWatch(t.config, stderr)
		if err != nil {
			return nil, who, err
		}
		t.lender = string(w.Name)
		for i := range w.Boxes {
			if boxes, err = appendKey(boxes, w.Boxes[i].Key, "box "+string(w.Boxes[i].Name)); err != nil {
				return nil, who, fmt.Errorf("%s: %w", t.config, err)
			}
		}
		// Receipts of its own count; a file without its key checks less, and works.
		if key, _, err := keyfile.Load(w.Key); err == nil {
			who.Lenders = append(who.Lenders, evidence.Ed25519PublicKey(key.Public().(ed25519.PublicKey)))
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, who, err
		}
	}
	if t.policy == "" {
		return boxes, who, nil
	}
	p, err := loadFile(t.policy, configs.LoadPolicy, stderr)
	if err != nil {
		return nil, who, err
	}
	for i := range p.Boxes {
		if boxes, err = appendKey(boxes, p.Boxes[i].Key, "box "+string(p.Boxes[i].Name)); err != nil {
			return nil, who, fmt.Errorf("%s: %w", t.policy, err)
		}
	}
	for i := range p.Lenders {
		if who.Lenders, err = appendKey(who.Lenders, p.Lenders[i].Key, "lender "+string(p.Lenders[i].Name)); err != nil {
			return nil, who, fmt.Errorf("%s: %w", t.policy, err)
		}
	}
	if p.Witnesses == "" {
		return boxes, who, nil
	}
	text, err := os.ReadFile(p.Witnesses)
	if err == nil {
		who.Witnesses, err = checkpoint.ParsePolicy(text)
	}
	if err != nil {
		return nil, who, &cli.Error{Exit: cli.Usage, Code: "E-504", Text: fmt.Sprintf("witnesses of %s: %s: %v", t.policy, p.Witnesses, err),
			Hint: "the file lists witnesses and a quorum as C2SP tlog-policy has it"}
	}
	return boxes, who, nil
}

func appendKey(keys []evidence.PublicKey, k configs.PublicKey, whose string) ([]evidence.PublicKey, error) {
	pub, err := evidence.ParsePublicKey(k.String())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", whose, err)
	}
	return append(keys, pub), nil
}

// policyFor is how a bundle is to be judged. assumed is the bundle's own key
// where no other was given. The file is read, and left at its start; done must
// be called in the end.
func (t *trust) policyFor(f *os.File, stderr io.Writer) (p verify.Policy, assumed evidence.PublicKey, done func(), err error) {
	done = func() {}
	boxes, who, err := t.believed(stderr)
	if err != nil {
		return p, assumed, done, err
	}
	p.Pinned = boxes
	if len(who.Lenders) > 0 || who.Witnesses != nil {
		if p.Receipts, err = verify.CollectReceipts(f, who); err != nil {
			return p, assumed, done, err
		}
		if _, err = f.Seek(0, io.SeekStart); err != nil {
			return p, assumed, done, err
		}
	}
	if t.config != "" && lender.IsArchive(f.Name()) {
		times, err := lender.OpenTimes(filepath.Dir(f.Name()))
		if err != nil {
			return p, assumed, done, err
		}
		p.Times, done = func(n uint64) (time.Time, time.Time) { return times.Of(n) }, func() { times.Close() }
	}
	if len(p.Pinned) > 0 {
		return p, assumed, done, nil
	}
	r, err := bundle.NewReader(f)
	if err != nil {
		return p, assumed, done, fmt.Errorf("%s: %w", f.Name(), err)
	}
	genesis, err := evidence.ParseLeaf(r.Header().Genesis)
	if err != nil {
		return p, assumed, done, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if g := genesis.Manifest.Genesis; g != nil {
		assumed = g.Key.Key()
		p.Pinned = append(p.Pinned, assumed)
	}
	_, err = f.Seek(0, io.SeekStart)
	return p, assumed, done, err
}

// loadWatch reads a lender file; all its faults are on stderr when it returns
// an error.
func loadWatch(path string, stderr io.Writer) (*configs.Watch, error) {
	w, err := loadFile(path, configs.LoadWatch, stderr)
	if err != nil {
		return nil, err
	}
	return w, w.RenderFaults(stderr, w.Warnings)
}

// loadFile reads a file of ours; all its faults are on stderr when it returns an
// error.
func loadFile[T any](path string, load func(string) (*T, error), stderr io.Writer) (*T, error) {
	v, err := load(path)
	var all *configs.Error
	if errors.As(err, &all) {
		all.Render(stderr)
		return nil, &cli.Error{Exit: cli.Usage, Text: fmt.Sprintf("%s has faults, listed above", path)}
	}
	return v, err
}
