package assembly

import (
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// Keep lets pass, of a stored delivery, what a lender of the site file may have:
// its channels, and the records for it or for all.
func Keep(l *configs.Lender) func(evidence.RawBlock) bool {
	return evidence.Granted(string(l.Name), Channels(l.Share))
}

// LenderKey is the key of a lender's receipts; zero where the site file names
// none.
func LenderKey(l *configs.Lender) (evidence.PublicKey, error) {
	if l.PublicKey == (configs.PublicKey{}) {
		return evidence.PublicKey{}, nil
	}
	return evidence.ParsePublicKey(l.PublicKey.String())
}
