package verify

import (
	"errors"
	"fmt"
	"io"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
)

// ErrNoSuccession says that a log does not go on in another one.
var ErrNoSuccession = errors.New("the second log does not continue the first")

// Succession checks that the log of the bundle next continues that of the bundle
// old, under another key (SPEC.md section 3.2): the last leaf of old, whose key policy
// pins, names the key that signed the genesis of next, and that genesis names the
// end of old. The key is the one to pin for next; next itself is to be verified under
// it. Errors are an ErrNoSuccession that says what does not fit, or those of Bundle.
func Succession(old, next io.Reader, policy Policy) (evidence.PublicKey, error) {
	var heir evidence.PublicKey
	no := func(format string, args ...any) (evidence.PublicKey, error) {
		return evidence.PublicKey{}, fmt.Errorf("%w: %s", ErrNoSuccession, fmt.Sprintf(format, args...))
	}
	b, err := readBundle(old, policy, func(r Result) {
		heir = evidence.PublicKey{}
		if r.Manifest != nil {
			heir, _ = r.Manifest.Heir()
		}
	})
	if err != nil {
		return heir, err
	}
	if !b.sum.Verdict.Accepted() {
		return no("the first file is %s", b.sum.Verdict)
	}
	end := b.v.Receipt()
	if heir.IsZero() || end.Empty || end.N != b.sum.Hi {
		return no("its last leaf here, %d, names no key that comes after it", b.sum.Hi)
	}
	br, err := bundle.NewReader(next)
	if err != nil {
		return heir, err
	}
	genesis, err := evidence.ParseLeaf(br.Header().Genesis)
	if err != nil {
		return heir, err
	}
	g := genesis.Manifest.Genesis
	switch {
	case g == nil || g.Key.Key() != heir || genesis.VerifySignature(heir) != nil:
		return no("it is not opened by the key named there, %s", heir)
	case g.Prev == nil || g.Prev.Log != b.sum.Log:
		return no("its genesis does not name log %s", b.sum.Log)
	case g.Prev.N != end.N+1 || g.Prev.Root != end.Root:
		return no("its genesis says that log %s ended with %d leaves and root %s, here it ends with %d and root %s", b.sum.Log, g.Prev.N, g.Prev.Root, end.N+1, end.Root)
	}
	return heir, nil
}
