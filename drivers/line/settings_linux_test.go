package line

import (
	"errors"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick/drivers"
)

// On a real port, odd speeds included. (A pty keeps neither parity nor 7 bits.)
func TestSerialSettings(t *testing.T) {
	meter, path := openPTY(t)
	go answer(meter)
	l := serialLine(path)
	defer l.Close()
	for _, s := range []drivers.Settings{
		{Baud: 2400, DataBits: 8, Parity: 'N', StopBits: 2},
		{Baud: 10400, DataBits: 8, Parity: 'N', StopBits: 1},
		{Baud: 1200, DataBits: 8, Parity: 'E', StopBits: 1},
		{}, // the line's own: 19200 8E1
	} {
		x := patient()
		x.Settings = s
		if _, err := l.Exchange(t.Context(), x); err != nil {
			t.Fatal(s, err)
		}
		if s.Baud == 0 {
			s = l.cfg.Serial.Settings
		}
		var got *unix.Termios
		if err := control(meter, func(fd int) (err error) {
			got, err = unix.IoctlGetTermios(fd, unix.TCGETS2)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if int(got.Ospeed) != s.Baud || int(got.Ispeed) != s.Baud || (got.Cflag&unix.CSTOPB != 0) != (s.StopBits == 2) ||
			(got.Iflag&unix.INPCK != 0) != (s.Parity != 'N') || got.Lflag&(unix.ICANON|unix.ECHO) != 0 {
			t.Errorf("%v: port has %+v", s, got)
		}
	}
}

// What configure asks for, where a pty keeps it not.
func TestTermios(t *testing.T) {
	for _, c := range []struct {
		s     drivers.Settings
		cflag uint32
	}{
		{at9600, unix.CS8},
		{at2400, unix.CS8 | unix.PARENB},
		{at300, unix.CS7 | unix.PARENB},
		{drivers.Settings{Baud: 9600, DataBits: 7, Parity: 'O', StopBits: 2}, unix.CS7 | unix.PARENB | unix.PARODD | unix.CSTOPB},
	} {
		// from whatever it was before
		tio := unix.Termios{Cflag: unix.CREAD | unix.CLOCAL | unix.B19200 | unix.CS6 | unix.PARENB | unix.PARODD | unix.CSTOPB, Iflag: unix.INPCK}
		apply(&tio, c.s)
		if got, want := tio.Cflag, c.cflag|unix.BOTHER|unix.CREAD|unix.CLOCAL; got != want {
			t.Errorf("%v: control flags %o, want %o", c.s, got, want)
		}
		if got := tio.Iflag == unix.INPCK; got != (c.s.Parity != 'N') {
			t.Errorf("%v: parity is checked: %v", c.s, got)
		}
	}
}

// What a driver kept instead of what it was told is said, with what to do about
// 7E1.
func TestDriverKeepsItsOwn(t *testing.T) {
	const hint = "; write serial: 300 8N1 at an IEC 62056-21 meter in the site file: 7E1 is emulated on 8N1"
	at8N1, at7O2 := at9600, drivers.Settings{Baud: 9600, DataBits: 7, Parity: 'O', StopBits: 2}
	all := []drivers.Settings{at8N1, at2400, at300, at7O2}
	for i, s := range all {
		for j, has := range all {
			var tio unix.Termios
			apply(&tio, has)
			if err := difference(settingsIn(&tio), s); (err == nil) != (i == j) {
				t.Errorf("told %v, has %v: %v", s, has, err)
			}
		}
	}
	for _, c := range []struct {
		told  drivers.Settings
		cflag uint32
		speed uint32
		want  string
	}{
		{at300, unix.CS8 | unix.PARENB, 300, "the driver kept 8 data bits" + hint},
		{at300, unix.CS8, 300, "the driver kept 8 data bits, no parity" + hint},
		{at300, unix.CS7 | unix.PARENB | unix.PARODD, 300, "the driver kept odd parity" + hint},
		{at2400, unix.CS8 | unix.PARENB, 9600, "the driver kept 9600 baud"},
		{at2400, unix.CS8 | unix.PARENB | unix.CSTOPB, 2400, "the driver kept 2 stop bits"},
		{at8N1, unix.CS8 | unix.PARENB, 9600, "the driver kept even parity"},
		{at7O2, unix.CS7 | unix.PARENB | unix.PARODD, 9600, "the driver kept 1 stop bit"},
	} {
		if err := difference(settingsIn(&unix.Termios{Cflag: c.cflag, Ospeed: c.speed}), c.told); err == nil || err.Error() != c.want {
			t.Errorf("told %v: %v, want %s", c.told, err, c.want)
		}
	}
	// Speeds are divided down from a quartz, never quite met.
	if err := difference(settingsIn(&unix.Termios{Cflag: unix.CS8, Ospeed: 9615}), at8N1); err != nil {
		t.Error(err)
	}
}

// When the port is opened and between two exchanges, the port's name is said
// once; a pty is let off its missing parity.
func TestSettingsAreReadBack(t *testing.T) {
	failed := &settingsError{"/dev/ttyUSB0", at300, errors.New("the driver kept 8 data bits")}
	const want = "set 300 7E1 on /dev/ttyUSB0: the driver kept 8 data bits"
	if got := openError("/dev/ttyUSB0", failed).Error(); got != want {
		t.Error(got)
	}
	_, path := openPTY(t)
	p, err := openSerial(Serial{Path: path, Settings: at300}, t.TempDir(), func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	f := p.(*serialPort).f
	kept := func(s drivers.Settings) error {
		return control(f, func(fd int) error { return verify(fd, path, s) })
	}
	if err := kept(at300); err != nil {
		t.Error("after opening: ", err)
	}
	if err := p.configure(at2400); err != nil {
		t.Error(err)
	}
	if err := kept(at2400); err != nil {
		t.Error("after a change: ", err)
	}
	// No meter has 6 data bits, and verify lets a pty off 7 only.
	six := drivers.Settings{Baud: 9600, DataBits: 6, Parity: 'N', StopBits: 1}
	wantSix := "set 9600 6N1 on " + path + ": the driver kept 8 data bits"
	if got := p.configure(six); got == nil || got.Error() != wantSix {
		t.Errorf("%v, want %s", got, wantSix)
	}
	_, path = openPTY(t)
	wantSix = "set 9600 6N1 on " + path + ": the driver kept 8 data bits"
	if _, got := openSerial(Serial{Path: path, Settings: six}, t.TempDir(), func(error) {}); got == nil || got.Error() != wantSix {
		t.Errorf("%v, want %s", got, wantSix)
	}
}

// A request is out before the settings change, on a pty at once.
func TestSerialSettingsOfReply(t *testing.T) {
	meter, path := openPTY(t)
	seen := make(chan uint32, 1)
	go func() {
		io.ReadFull(meter, make([]byte, 3))
		time.Sleep(30 * time.Millisecond)
		control(meter, func(fd int) error {
			tio, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
			seen <- tio.Ospeed
			return err
		})
		meter.Write([]byte("<reply1>"))
	}()
	l := serialLine(path)
	defer l.Close()
	x := patient()
	x.Reply = at9600
	reply, err := l.Exchange(t.Context(), x)
	want(t, reply, err, "<reply1>")
	if speed := <-seen; speed != 9600 {
		t.Errorf("the reply came at %d", speed)
	}
}
