package evidence

import "strings"

// succeededBy begins the reason of a log's last leaf where another log goes on.
const succeededBy = "succeeded by "

// SucceededBy is the reason of the shutdown leaf that ends a log for good, because
// the history goes on in a log that key opens (SPEC.md section 3.2).
func SucceededBy(key PublicKey) string { return succeededBy + key.String() }

// Heir is the key that opens the log after this one, where m is a leaf that names
// one.
func (m *Manifest) Heir() (key PublicKey, ok bool) {
	text, named := strings.CutPrefix(m.Shutdown, succeededBy)
	if m.Type != ShutdownLeaf || !named {
		return key, false
	}
	key, err := ParsePublicKey(text)
	return key, err == nil
}
