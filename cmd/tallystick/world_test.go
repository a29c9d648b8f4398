//go:build linux

package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/drivers/sim"
	"github.com/tallystick/tallystick/drivers/sim/meter"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

// TestMain lets many tests wait at a time, for meters, brokers and timeouts: next
// to none of them computes.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", "8"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// text is what a command has printed so far.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

// tidy leaves of a command's output what is the same on every machine and at
// any time. dir is where the test keeps its files.
func tidy(dir, s string) string {
	s = strings.ReplaceAll(s, dir, "DIR")
	for _, r := range []struct{ found, kept string }{
		{`time=\S+ `, ``},
		{`"time":"[^"]+"`, `"time":"TIME"`},
		{`127\.0\.0\.1:\d+`, `HOST:PORT`},
		{`/dev/pts/\d+`, `PTS`},
		{`\(pid \d+\)`, `(pid PID)`},
		{`process \d+`, `process PID`},
		{`ed25519:[\w-]{43}`, `ed25519:KEY`},
		{`log [0-9a-f]{32}`, `log LOG`},
		{`\.key-\d+`, `.key-NUMBER`},
		{`user \d+`, `user UID`},
		{`(this machine has no serial port: is the adapter plugged in\?|ports of this machine: [^\n"]*)`, `PORTS`},
	} {
		s = regexp.MustCompile(r.found).ReplaceAllString(s, r.kept)
	}
	return s
}

// command runs a command that ends by itself.
func command(t *testing.T, dir string, args ...string) (exit int, stdout, stderr string) {
	t.Helper()
	var out, errs text
	exit = run(t.Context(), args, &out, &errs)
	return exit, tidy(dir, out.String()), tidy(dir, errs.String())
}

// running is a command in this process that runs until told to stop.
type running struct {
	t      *testing.T
	stderr text
	cancel context.CancelFunc
	ended  chan struct{} // closed when exit is set
	exit   int
}

func background(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.exit = run(ctx, args, new(text), &r.stderr)
	}()
	t.Cleanup(func() { r.cancel() })
	return r
}

// says waits until stderr holds all the words.
func (r *running) says(words ...string) {
	r.t.Helper()
	until(r.t, func() bool {
		select {
		case <-r.ended:
			r.t.Fatalf("ended with exit %d:\n%s", r.exit, r.stderr.String())
		default:
		}
		s := r.stderr.String()
		for _, w := range words {
			if !strings.Contains(s, w) {
				return false
			}
		}
		return true
	}, func() string {
		return "stderr does not say " + strings.Join(words, " and ") + ":\n" + r.stderr.String()
	})
}

// ends waits for the command's end and checks its exit code.
func (r *running) ends(want int) {
	r.t.Helper()
	select {
	case <-r.ended:
		if r.exit != want {
			r.t.Fatalf("exit %d, want %d:\n%s", r.exit, want, r.stderr.String())
		}
	case <-time.After(30 * time.Second):
		r.t.Fatalf("does not end:\n%s", r.stderr.String())
	}
}

func (r *running) stop(want int) {
	r.t.Helper()
	r.cancel()
	r.ends(want)
}

// warnings are the tidy lines at WARN and above.
func (r *running) warnings(dir string) string {
	var ws []string
	for line := range strings.Lines(tidy(dir, r.stderr.String())) {
		if strings.HasPrefix(line, "level=WARN") || strings.HasPrefix(line, "level=ERROR") || strings.HasPrefix(line, "tallystick:") {
			ws = append(ws, line)
		}
	}
	return strings.Join(ws, "")
}

func until(t *testing.T, ok func() bool, why func() string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(why())
		}
	}
}

// documented checks that docs/messages.md has every line of a message.
func documented(t *testing.T, message string) {
	t.Helper()
	doc, err := os.ReadFile("../../docs/messages.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(message) {
		line = strings.TrimSpace(line)
		for _, prefix := range []string{"tallystick: error: ", "tallystick: "} {
			line = strings.TrimPrefix(line, prefix)
		}
		if !bytes.Contains(doc, []byte(line)) {
			t.Errorf("docs/messages.md does not have: %s", line)
		}
	}
}

// same compares printed text.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

func put(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// meters opens a line with simulated SDM630 meters at the units and runs it.
func meters(t *testing.T, kind sim.Kind, address string, units ...byte) (string, meter.Units) {
	t.Helper()
	lib := profile.Builtin()
	p, err := lib.Get("eastron-sdm630")
	if err != nil {
		t.Fatal(err)
	}
	clock, err := plant.NewClock(1, plant.Hold{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	us := meter.Units{}
	for _, u := range units {
		m, err := meter.NewModbus(meter.Config{Name: "m" + strconv.Itoa(int(u)), Load: plant.ShiftPattern(1, time.Now()), Clock: clock, Seed: uint64(u)}.WithProfile(p))
		if err != nil {
			t.Fatal(err)
		}
		us[u] = m
	}
	f, err := sim.Open(sim.Line{Kind: kind, Address: address, Units: us})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return f.Lines[0].Address, us
}

// childEnv makes the test binary play another program: see TestChild.
const childEnv = "TALLYSTICK_TEST_CHILD"

// child is the test binary as a process of its own.
func child(what string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", append([]string{"-test.run=^TestChild$", "--"}, args...)...)
	cmd.Env = append(os.Environ(), childEnv+"="+what)
	return cmd
}

// TestChild is what a child process does; in the tests' own process nothing.
func TestChild(t *testing.T) {
	args := os.Args[len(os.Args):]
	for i, a := range os.Args {
		if a == "--" {
			args = os.Args[i+1:]
		}
	}
	switch what := os.Getenv(childEnv); what {
	case "":
	case "hold": // a port, as a program that locks its ports does
		f, err := os.OpenFile(args[0], os.O_RDWR|unix.O_NOCTTY, 0)
		if err == nil {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		}
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("held\n")
		time.Sleep(time.Hour) // killed long before
		runtime.KeepAlive(f)  // collected, it would let the port go
	case "plain": // the command, to be killed
		os.Exit(run(context.Background(), args, os.Stdout, os.Stderr))
	case "unprivileged": // the command, as a user who may do nothing here
		if os.Geteuid() == 0 {
			for _, err := range []error{syscall.Setgroups(nil), syscall.Setresgid(65534, 65534, 65534), syscall.Setresuid(65534, 65534, 65534)} {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		os.Exit(run(context.Background(), args, os.Stdout, os.Stderr))
	case "small-files": // the command, where no file may grow beyond 9 KiB
		signal.Ignore(unix.SIGXFSZ)
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 9 << 10, Max: 9 << 10}); err != nil {
			t.Fatal(err)
		}
		os.Exit(run(context.Background(), args, os.Stdout, os.Stderr))
	default:
		t.Fatalf("no child %q", what)
	}
}

// site is a site file in a directory of its own.
func site(t *testing.T, content string) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	return dir, put(t, filepath.Join(dir, "site.yaml"), strings.ReplaceAll(content, "DIR", dir))
}
