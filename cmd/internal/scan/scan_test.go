package scan

import (
	"context"
	"errors"
	"testing"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/profile"
)

// deafTo is a line on which unit 1 refuses whatever it is asked, at every
// setting, and nobody else answers.
type deafTo struct{ asked []drivers.Settings }

func (l *deafTo) Exchange(_ context.Context, x drivers.Exchange) ([]byte, error) {
	if x.Request[0] != 1 {
		return nil, &drivers.Fault{Kind: drivers.Timeout, Err: errors.New("timeout")}
	}
	l.asked = append(l.asked, x.Settings)
	return []byte{1, 0x83, 0x02, 0xC0, 0xF1}, nil
}

// A device that answers at every setting is looked at once.
func TestADeviceIsLookedAtOnce(t *testing.T) {
	line := &deafTo{}
	settings := Usual()[:3]
	hits, err := Run(t.Context(), Config{Line: line, Serial: true, Settings: settings, First: 1, Last: 2, Library: profile.Builtin()})
	if err != nil || len(hits) != 1 || hits[0].Address != "1" || hits[0].Settings != settings[0] {
		t.Errorf("%+v, %v", hits, err)
	}
	for _, at := range line.asked {
		if at != settings[0] {
			t.Fatalf("asked again at %v", at)
		}
	}
}
