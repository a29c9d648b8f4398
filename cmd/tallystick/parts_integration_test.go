//go:build integration

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The real parts of an end-to-end test: our own binaries as users run them,
// and a mosquitto.

// build compiles the commands once a test binary, into a directory that stays.
var build = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(os.TempDir(), "tallystick-integration-bin")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir+string(filepath.Separator),
		"./cmd/tallystick", "./cmd/tally-lender", "./cmd/tally-sim")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %s", err, out)
	}
	return dir, nil
})

func binary(t testing.TB, name string) string {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// process is a running command. Its stdout is kept line by line.
type process struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer

	mu    sync.Mutex
	lines []string
	done  chan struct{} // closed when the process has ended
}

func start(t testing.TB, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), done: make(chan struct{})}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		in := bufio.NewReader(stdout)
		for {
			line, err := in.ReadString('\n')
			if line != "" {
				p.mu.Lock()
				p.lines = append(p.lines, line)
				p.mu.Unlock()
			}
			if err != nil {
				break
			}
		}
		p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s %v, stderr:\n%s", filepath.Base(name), args, tail(p.stderr.String(), 4000))
		}
	})
	return p
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func (p *process) output() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines[:len(p.lines):len(p.lines)]
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// stop ends the process in order and returns its exit code.
func (p *process) stop(t testing.TB) int {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		t.Fatalf("%v did not stop within 30 s of SIGTERM", p.cmd.Args)
	}
	return p.cmd.ProcessState.ExitCode()
}

// objects decodes every line of stdout.
func objects[T any](t testing.TB, p *process) (vs []T) {
	t.Helper()
	for _, l := range p.output() {
		var v T
		if err := json.Unmarshal([]byte(l), &v); err != nil {
			t.Fatalf("%v printed %q: %v", p.cmd.Args, l, err)
		}
		vs = append(vs, v)
	}
	return vs
}

// eventually waits until ok, at most for limit.
func eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// mosquitto starts a broker with its default limits on port, for everybody
// unless lines of its configuration say otherwise.
func mosquitto(t testing.TB, port int, lines ...string) *process {
	t.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto"
	}
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	if lines == nil {
		lines = []string{"allow_anonymous true"}
	}
	write(t, conf, fmt.Sprintf("listener %d 127.0.0.1\n%s\n", port, strings.Join(lines, "\n")))
	p := start(t, path, "-c", conf)
	eventually(t, 10*time.Second, "mosquitto listens", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return p
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// output runs a command to its end and returns its stdout.
func output(t testing.TB, name string, args ...string) string {
	t.Helper()
	stdout, _ := exits(t, 0, name, args...)
	return stdout
}

// exits runs a command to its end, which must have the exit code.
func exits(t testing.TB, code int, name string, args ...string) (stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("%s %v: exit %d, want %d\n%s%s", filepath.Base(name), args, got, code, out.String(), errs.String())
	}
	return out.String(), errs.String()
}
