package assembly

import (
	"fmt"

	"github.com/tallystick/tallystick/agent/desk"
	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// Disclosure is what one lender may have of leaves of a history, as a shipper
// would send it: by the site file, and by the consent in force.
type Disclosure struct {
	Lo, Hi uint64 // both included; nothing when Lo is above Hi
	// Keep lets pass the blocks of a leaf that begins at the given Unix ms.
	Keep func(at int64) func(evidence.RawBlock) bool
}

// Disclose says what of leaves lo to hi a lender of the site may have.
func Disclose(site *configs.Site, l *configs.Lender, h *history.Reader, lo, hi uint64) (Disclosure, error) {
	zone, err := site.Timezone.Location()
	if err != nil {
		return Disclosure{}, err
	}
	standing, err := desk.StandingIn(site.Buffer.Directory, h, string(l.Name))
	if err != nil {
		return Disclosure{}, err
	}
	may := newAllowance(l, zone, func() desk.Standing { return standing })
	d := Disclosure{Lo: lo, Hi: hi, Keep: func(at int64) func(evidence.RawBlock) bool {
		return record.Granted(string(l.Name), may.grants(at))
	}}
	from, end := may.stretch()
	if end <= hi {
		if end == 0 {
			return Disclosure{Lo: 1}, nil
		}
		d.Hi = end - 1
	}
	for ; d.Lo <= d.Hi && d.Lo < from; d.Lo++ { // of leaves before the grant go those it reaches back to
		leaf, err := h.Leaf(d.Lo)
		if err != nil {
			return Disclosure{}, fmt.Errorf("leaf %d: %w", d.Lo, err)
		}
		if len(may.grants(leaf.Manifest.Start)) > 0 {
			break
		}
	}
	return d, nil
}

// LenderKey is the key of a lender's receipts; zero where the site file names
// none.
func LenderKey(l *configs.Lender) (evidence.PublicKey, error) {
	if l.PublicKey == (configs.PublicKey{}) {
		return evidence.PublicKey{}, nil
	}
	return evidence.ParsePublicKey(l.PublicKey.String())
}
