package line

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick/drivers"
)

// openPTY returns the meter's end of a pty and the path of the line's end. The
// line's end stays open, as a real port exists while nobody has it open.
func openPTY(t *testing.T) (meter *os.File, path string) {
	t.Helper()
	meter, tty, err := pty.Open()
	if err != nil {
		t.Skipf("no pty on this machine: %v", err)
	}
	t.Cleanup(func() { meter.Close(); tty.Close() })
	return meter, tty.Name()
}

func serialLine(path string) *Line {
	return New(Config{Name: "hall-a", Serial: &Serial{Path: path, Settings: drivers.Settings{Baud: 19200, DataBits: 8, Parity: 'E', StopBits: 1}}})
}

func TestSerialPort(t *testing.T) {
	meter, path := openPTY(t)
	link := filepath.Join(t.TempDir(), "usb-FTDI-port0")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	go answer(meter)
	l := serialLine(link)
	defer l.Close()
	reply, err := l.Exchange(t.Context(), patient())
	want(t, reply, err, "<reply1>")
	reply, err = l.Exchange(t.Context(), patient())
	want(t, reply, err, "<reply2>")

	// The port carries the settings asked for, raw.
	tio := termios(t, path)
	// (a pty keeps no parity)
	if tio.Cflag&unix.CBAUD != unix.B19200 || tio.Cflag&unix.CSIZE != unix.CS8 || tio.Cflag&unix.CSTOPB != 0 ||
		tio.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 || tio.Iflag&(unix.IXON|unix.ICRNL) != 0 || tio.Oflag&unix.OPOST != 0 {
		t.Errorf("line settings %+v", tio)
	}

	// Nothing that arrived before a request is its reply.
	if _, err := meter.Write([]byte("<reply9>")); err != nil {
		t.Fatal(err)
	}
	reply, err = l.Exchange(t.Context(), patient())
	want(t, reply, err, "<reply3>")
}

func termios(t *testing.T, path string) *unix.Termios {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.EBUSY) {
		t.Skip("only root may look at a locked port")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	tio, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return tio
}

// Nothing of a port is left to child processes, and nothing is left at all
// once the line is closed.
func TestSerialDescriptors(t *testing.T) {
	meter, path := openPTY(t)
	go answer(meter)
	before := descriptors(t, path)
	l := serialLine(path)
	reply, err := l.Exchange(t.Context(), patient())
	want(t, reply, err, "<reply1>")
	after := descriptors(t, path)
	if len(after) != len(before)+1 {
		t.Errorf("%d descriptors for one open port, want 1", len(after)-len(before))
	}
	for _, fd := range after {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d would be inherited by child processes", fd)
		}
	}
	l.Close()
	if left := descriptors(t, path); len(left) != len(before) {
		t.Errorf("%d descriptors left after Close", len(left)-len(before))
	}
}

func descriptors(t *testing.T, path string) (fds []int) {
	t.Helper()
	for fd := range 256 {
		var st, dev unix.Stat_t
		if unix.Fstat(fd, &st) == nil && unix.Stat(path, &dev) == nil && st.Rdev == dev.Rdev && st.Mode&unix.S_IFMT == unix.S_IFCHR {
			fds = append(fds, fd)
		}
	}
	return fds
}

func TestSerialHangUp(t *testing.T) {
	meter, path := openPTY(t)
	l := serialLine(path)
	go func() {
		io.ReadFull(meter, make([]byte, 3))
		meter.Write([]byte("<re"))
		meter.Close() // unplugged in the middle of a frame
	}()
	_, err := l.Exchange(t.Context(), patient())
	wantFault(t, err, drivers.Disconnected, "line hall-a: port is gone: was its adapter unplugged?")
	_, err = l.Exchange(t.Context(), patient())
	wantFault(t, err, drivers.Disconnected, "next try in")
}

// A far end that reads nothing must not block the line for ever.
func TestSerialNeverBlocksOnWrite(t *testing.T) {
	_, path := openPTY(t)
	l := serialLine(path)
	defer l.Close()
	x := poll()
	x.Request = make([]byte, 1<<20)
	x.Timeout = time.Millisecond
	_, err := l.Exchange(t.Context(), x)
	wantFault(t, err, drivers.Disconnected, "port takes no bytes for 1s")
}

func openFault(t *testing.T, l *Line) *OpenError {
	t.Helper()
	_, err := l.Exchange(t.Context(), patient())
	wantFault(t, err, drivers.Disconnected, "line hall-a: port ")
	var open *OpenError
	if !errors.As(err, &open) {
		t.Fatalf("%v holds no *OpenError", err)
	}
	return open
}

func TestPortMissing(t *testing.T) {
	e := openFault(t, serialLine(filepath.Join(t.TempDir(), "ttyUSB9")))
	if e.Reason != Missing || !strings.Contains(e.Error(), "ttyUSB9 does not exist") {
		t.Errorf("%+v: %v", e, e)
	}
	e.Ports = []string{"/dev/serial/by-id/usb-FTDI", "/dev/ttyS1"}
	if got := e.Error(); !strings.HasSuffix(got, "does not exist; ports of this machine: /dev/serial/by-id/usb-FTDI, /dev/ttyS1") {
		t.Error(got)
	}
}

func TestPortIsNoPort(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if e := openFault(t, serialLine(path)); e.Reason != Other || !strings.HasSuffix(e.Error(), "is not a serial port") {
		t.Errorf("%+v: %v", e, e)
	}
}

// A port that appears later is found.
func TestPortAppears(t *testing.T) {
	link := filepath.Join(t.TempDir(), "ttyUSB0")
	l := serialLine(link)
	defer l.Close()
	openFault(t, l)
	meter, path := openPTY(t)
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	go answer(meter)
	l.retryAt = time.Time{}
	reply, err := l.Exchange(t.Context(), patient())
	want(t, reply, err, "<reply1>")
}

func TestPortBusy(t *testing.T) {
	_, path := openPTY(t)

	t.Run("lock of this process", func(t *testing.T) {
		first := serialLine(path)
		first.Exchange(t.Context(), poll()) // times out, the port stays open
		defer first.Close()
		if e := openFault(t, serialLine(path)); e.Reason != Busy || !strings.Contains(e.Error(), "is used by") {
			t.Errorf("%+v: %v", e, e)
		}
	})
	t.Run("released", func(t *testing.T) {
		l := serialLine(path)
		defer l.Close()
		_, err := l.Exchange(t.Context(), poll())
		wantFault(t, err, drivers.Timeout, "timeout")
	})
	t.Run("TIOCEXCL of another", func(t *testing.T) {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.IoctlSetInt(fd, unix.TIOCEXCL, 0); err != nil {
			t.Fatal(err)
		}
		defer unix.IoctlSetInt(fd, unix.TIOCNXCL, 0)
		if e := openFault(t, serialLine(path)); e.Reason != Busy {
			t.Errorf("%+v: %v", e, e)
		}
	})
	t.Run("flock of another", func(t *testing.T) {
		flock, err := exec.LookPath("flock")
		if err != nil {
			t.Skip("no flock command on this machine")
		}
		cmd := exec.Command(flock, "--no-fork", path, "cat")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { in.Close(); cmd.Wait() }()
		in.Write([]byte("locked\n"))
		io.ReadFull(out, make([]byte, 7)) // cat echoes once the lock is held
		e := openFault(t, serialLine(path))
		if e.Reason != Busy || !strings.HasPrefix(e.Holder, "cat (pid ") || !strings.Contains(e.Error(), "is used by cat (pid ") {
			t.Errorf("%+v: %v", e, e)
		}
	})
}

// The port is locked against other programs as long as the line is open.
func TestPortLocked(t *testing.T) {
	_, path := openPTY(t)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	exclusive := func() int {
		held, err := unix.IoctlGetInt(fd, unix.TIOCGEXCL)
		if err != nil {
			t.Fatal(err)
		}
		return held
	}
	l := serialLine(path)
	l.Exchange(t.Context(), poll())
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("flock by another: %v, want EWOULDBLOCK", err)
	}
	if exclusive() != 0 {
		t.Error("a pty is marked exclusive, and would stay so after a kill")
	}
	// What a real port gets, and that closing takes it back.
	if err := control(l.port.(*serialPort).f, markExclusive); err != nil || exclusive() == 0 {
		t.Errorf("not marked exclusive: %v", err)
	}
	if err := l.Close(); err != nil || exclusive() != 0 {
		t.Errorf("still marked exclusive after Close: %v", err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("flock by another after Close: %v", err)
	}
}

func TestPortPermission(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ttyUSB0")
	if err := os.WriteFile(path, nil, 0); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		if os.Getuid() == 0 {
			// Files of this thread are opened as another user; the thread
			// ends with the goroutine.
			runtime.LockOSThread()
			syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0)
		}
		_, err := openSerial(Serial{Path: path, Settings: drivers.Settings{Baud: 9600, DataBits: 8, Parity: 'N', StopBits: 1}}, lockFolder, nil)
		done <- err
	}()
	var e *OpenError
	if err := <-done; !errors.As(err, &e) || e.Reason != Permission {
		t.Fatalf("%v, want a *OpenError for Permission", err)
	}
	for _, c := range []struct{ group, want string }{
		{"dialout", "port /dev/ttyUSB0 may not be opened by user tally, only by group dialout: run `sudo usermod -aG dialout tally`, then log in again or restart the service"},
		{"", "port /dev/ttyUSB0 may not be opened by user tally nor by any group: run `sudo chgrp dialout /dev/ttyUSB0 && sudo chmod 660 /dev/ttyUSB0 && sudo usermod -aG dialout tally`, then log in again or restart the service"},
	} {
		e.Path, e.user, e.group = "/dev/ttyUSB0", "tally", c.group
		if e.Error() != c.want {
			t.Errorf("got  %s\nwant %s", e, c.want)
		}
	}
}

// Ports are listed from the stable links and sysfs, without opening any.
func TestPorts(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"dev/serial/by-id", "sys/class/tty/ttyS0/device", "sys/class/tty/ttyS1/device", "sys/class/tty/ttyUSB0/device", "sys/class/tty/tty7"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for file, content := range map[string]string{"dev/serial/by-id/usb-FTDI-port0": "", "sys/class/tty/ttyS0/type": "0\n", "sys/class/tty/ttyS1/type": "4\n"} {
		if err := os.WriteFile(filepath.Join(root, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := strings.Join(ports(root), " ")
	if want := "/dev/serial/by-id/usb-FTDI-port0 /dev/ttyS1 /dev/ttyUSB0"; got != want {
		t.Errorf("ports %q, want %q", got, want)
	}
}

// Two adapters without a serial number share one link by id: then, and only
// then, the links by path are listed too.
func TestPortsOfEqualAdapters(t *testing.T) {
	root := t.TempDir()
	link := func(kind, name, device string) {
		dir := filepath.Join(root, "dev/serial", kind)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../../"+device, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("by-id", "usb-1a86_USB_Serial-if00-port0", "ttyUSB0")
	link("by-path", "pci-0000:00:14.0-usb-0:1:1.0-port0", "ttyUSB0")
	if got := strings.Join(ports(root), " "); got != "/dev/serial/by-id/usb-1a86_USB_Serial-if00-port0" {
		t.Errorf("one adapter: %q", got)
	}
	link("by-path", "pci-0000:00:14.0-usb-0:2:1.0-port0", "ttyUSB1")
	if got := strings.Join(ports(root), " "); got != "/dev/serial/by-id/usb-1a86_USB_Serial-if00-port0 "+
		"/dev/serial/by-path/pci-0000:00:14.0-usb-0:1:1.0-port0 /dev/serial/by-path/pci-0000:00:14.0-usb-0:2:1.0-port0" {
		t.Errorf("two adapters: %q", got)
	}
}

// A driver without RS-485 switching, such as a pty's, is said once and gone on
// without.
func TestRS485NotThere(t *testing.T) {
	meter, path := openPTY(t)
	go answer(meter)
	l := serialLine(path)
	defer l.Close()
	l.cfg.Serial.RS485 = &RS485{RTSOnSend: true}
	var warnings []string
	l.cfg.Warn = func(err error) { warnings = append(warnings, err.Error()) }
	for range 3 {
		if _, err := l.Exchange(t.Context(), patient()); err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
	want := "line hall-a: port " + path + ": its driver does not switch the direction of an RS-485 line; going on without, as where the hardware does it"
	if len(warnings) != 1 || warnings[0] != want {
		t.Errorf("warnings %q", warnings)
	}
}

// struct serial_rs485 of linux/serial.h: 32 bytes, flags first.
func TestRS485(t *testing.T) {
	if size := unsafe.Sizeof(serialRS485{}); size != 32 {
		t.Errorf("%d bytes", size)
	}
	for _, c := range []struct {
		asked RS485
		want  serialRS485
	}{
		{RS485{}, serialRS485{flags: 1 | 4}},
		{RS485{RTSOnSend: true, DelayBefore: time.Millisecond, DelayAfter: 1200 * time.Microsecond}, serialRS485{flags: 1 | 2, delayBefore: 1, delayAfter: 2}},
	} {
		if got := c.asked.request(); got != c.want {
			t.Errorf("%+v: %+v, want %+v", c.asked, got, c.want)
		}
	}
}

// The lock file of a program that knows no flock is honoured while it lives.
func TestLockFile(t *testing.T) {
	_, path := openPTY(t)
	folder := t.TempDir()
	file := filepath.Join(folder, "LCK.."+strings.ReplaceAll(strings.TrimPrefix(path, "/dev/"), "/", "_"))
	open := func() (port, error) {
		return openSerial(Serial{Path: path, Settings: drivers.Settings{Baud: 9600, DataBits: 8, Parity: 'N', StopBits: 1}}, folder, nil)
	}
	other := exec.Command("sleep", "60")
	if err := other.Start(); err != nil {
		t.Skip(err)
	}
	gone := false
	defer func() {
		if !gone {
			other.Process.Kill()
			other.Wait()
		}
	}()
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	pid := other.Process.Pid
	for _, content := range []string{fmt.Sprintf("%10d\n", pid), fmt.Sprintf("%d minicom root\n", pid)} {
		write(content)
		var e *OpenError
		if _, err := open(); !errors.As(err, &e) || e.Reason != Busy || e.Holder != fmt.Sprintf("sleep (pid %d)", pid) {
			t.Errorf("locked by %q: %v", content, err)
		}
		if got, _ := os.ReadFile(file); string(got) != content {
			t.Errorf("the other's lock file now holds %q", got)
		}
	}
	other.Process.Kill()
	other.Wait()
	gone = true
	for _, content := range []string{fmt.Sprintf("%10d\n", pid), "", "garbage\n", "-1\n", fmt.Sprintf("%10d\n", os.Getpid())} {
		write(content)
		p, err := open()
		if err != nil {
			t.Fatalf("stale lock %q: %v", content, err)
		}
		if got, _ := os.ReadFile(file); string(got) != fmt.Sprintf("%10d\n", os.Getpid()) {
			t.Errorf("our lock file holds %q", got)
		}
		p.Close()
		if left, _ := filepath.Glob(filepath.Join(folder, "*")); len(left) != 0 {
			t.Errorf("left after Close: %v", left)
		}
	}
	// Where nothing can be written, the port opens all the same.
	os.Remove(folder)
	p, err := open()
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
}

func TestTCPOptions(t *testing.T) {
	l := New(Config{Name: "hall-b", TCP: listen(t, func(c *net.TCPConn) { answer(c) })})
	defer l.Close()
	reply, err := l.Exchange(t.Context(), patient())
	want(t, reply, err, "<reply1>")

	c, err := l.port.(*stream).file.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for name, option := range map[string][3]int{
		"TCP_NODELAY":      {unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		"SO_KEEPALIVE":     {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		"TCP_KEEPIDLE":     {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 10},
		"TCP_USER_TIMEOUT": {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 10000},
	} {
		c.Control(func(fd uintptr) {
			if got, err := unix.GetsockoptInt(int(fd), option[0], option[1]); err != nil || got != option[2] {
				t.Errorf("%s is %d, %v; want %d", name, got, err, option[2])
			}
		})
	}
}
