package line

import (
	"errors"
	"testing"

	"golang.org/x/sys/windows"

	"github.com/tallystick/tallystick/drivers"
)

func TestDCB(t *testing.T) {
	for _, s := range []drivers.Settings{at9600, at2400, at300, {Baud: 9600, DataBits: 7, Parity: 'O', StopBits: 2}} {
		d := windows.DCB{Flags: 1<<14 | 1<<2, Parity: windows.MARKPARITY, StopBits: windows.ONE5STOPBITS} // as somebody may have left it
		apply(&d, s)
		if got := settingsIn(&d); got != s {
			t.Errorf("%v came back as %v", s, got)
		}
		if want := map[bool]uint32{false: 0x1011, true: 0x1013}[s.Parity != 'N']; d.Flags != want {
			t.Errorf("%v: flags %#x, want %#x", s, d.Flags, want)
		}
	}
}

func TestPortThatIsNone(t *testing.T) {
	_, err := openPort(Serial{Path: "COM255", Settings: at9600}, func(error) {})
	var open *OpenError
	if !errors.As(err, &open) || open.Reason != Missing {
		t.Error(err)
	}
}
