//go:build integration

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mbpoll reads one value with an independent Modbus client (libmodbus).
func mbpoll(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("mbpoll", append([]string{"-0", "-1", "-q", "-o", "3"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("mbpoll %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	for l := range strings.Lines(string(out)) {
		if address, value, ok := strings.Cut(l, ":"); ok && strings.HasPrefix(address, "[") {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("mbpoll %s: no value in\n%s", strings.Join(args, " "), out)
	return ""
}

// An independent client reads what the simulator says it holds, from an
// integer and a float32 energy register, over TCP and over a pseudo-terminal
// at its real pace.
func TestMbpollReadsTheSimulator(t *testing.T) {
	link := filepath.Join(t.TempDir(), "bus")
	ctx, stop := context.WithCancel(t.Context())
	r, w := io.Pipe()
	code := make(chan int)
	var stderr bytes.Buffer
	go func() {
		code <- run(ctx, []string{
			"--line", "tcp:127.0.0.1:0", "--meter", "5=acrel-dtsd1352,base=12345.67", "--meter", "6=eastron-sdm630,base=4321.09",
			"--line", "rtu:" + link + "@9600-8N1", "--meter", "5=acrel-dtsd1352,base=76543.21", "--meter", "6=eastron-sdm630,base=0.01",
			"--hold", "1h", "--json",
		}, w, &stderr)
	}()
	out := json.NewDecoder(r)
	var ready readyJSON
	if err := out.Decode(&ready); err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(ready.Lines[0].Address)
	if err != nil {
		t.Fatal(err)
	}
	tcp := []string{"-m", "tcp", "-p", port, host}
	rtu := []string{"-m", "rtu", "-b", "9600", "-P", "none", link}
	for _, c := range []struct {
		line   []string
		unit   string
		format []string
		want   string
	}{
		{tcp, "5", []string{"-t", "4:int", "-B", "-r", "10"}, "1234567"},
		{tcp, "6", []string{"-t", "3:float", "-B", "-r", "72"}, fmt.Sprint(float32(4321.09))},
		{rtu, "5", []string{"-t", "4:int", "-B", "-r", "10"}, "7654321"},
		{rtu, "6", []string{"-t", "3:float", "-B", "-r", "72"}, fmt.Sprint(float32(0.01))},
	} {
		if got := mbpoll(t, append(append([]string{"-a", c.unit}, c.format...), c.line...)...); got != c.want {
			t.Errorf("unit %s at %s: mbpoll read %q, want %s", c.unit, c.line, got, c.want)
		}
	}
	stop()
	var sum summaryJSON
	if err := out.Decode(&sum); err != nil {
		t.Fatal(err)
	}
	for _, m := range sum.Meters {
		if m.Requests != 1 || m.EnergyImport != m.EnergyBase {
			t.Errorf("%+v: want one request, and a held register", m)
		}
	}
	if c := <-code; c != 0 {
		t.Errorf("exit %d, %s", c, stderr.String())
	}
}

// libmodbus, which sets a port as serial programs do, reads each meter of a
// mixed line at its own settings and none at another's.
func TestMbpollOnAMixedLine(t *testing.T) {
	link := filepath.Join(t.TempDir(), "bus")
	ctx, stop := context.WithCancel(t.Context())
	r, w := io.Pipe()
	code := make(chan int)
	var stderr bytes.Buffer
	go func() {
		code <- run(ctx, []string{
			"--line", "rtu:" + link, "--meter", "7=acrel-dtsd1352,base=1,serial=9600-8N1", "--meter", "8=acrel-dtsd1352,base=2,serial=19200-8E1",
			"--meter", "000000000123=dlt645-2007-3ph,serial=9600-8N1", "--meter", "33780012345678=cjt188-water,serial=9600-8N1", "--hold", "1h", "--json",
		}, w, &stderr)
	}()
	out := json.NewDecoder(r)
	var ready readyJSON
	if err := out.Decode(&ready); err != nil {
		t.Fatal(err)
	}
	value := []string{"-m", "rtu", "-t", "4:int", "-B", "-r", "10"}
	if got := mbpoll(t, append(value, "-a", "7", "-b", "9600", "-P", "none", link)...); got != "100" {
		t.Errorf("unit 7: %s, want 100", got)
	}
	if got := mbpoll(t, append(value, "-a", "8", "-b", "19200", "-P", "even", link)...); got != "200" {
		t.Errorf("unit 8: %s, want 200", got)
	}
	for _, c := range [][]string{{"-a", "7", "-b", "19200", "-P", "even"}, {"-a", "8", "-b", "19200", "-P", "none"}} {
		args := append(append([]string{"-0", "-1", "-q", "-o", "0.3"}, value...), append(c, link)...)
		if out, err := exec.Command("mbpoll", args...).CombinedOutput(); err == nil {
			t.Errorf("mbpoll %s: an answer\n%s", strings.Join(args, " "), out)
		}
	}
	stop()
	var sum summaryJSON
	if err := out.Decode(&sum); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int64{1, 1, 0, 0} {
		if got := sum.Meters[i].Requests; got != want {
			t.Errorf("%s: %d requests, want %d", sum.Meters[i].Meter, got, want)
		}
	}
	if c := <-code; c != 0 {
		t.Errorf("exit %d, %s", c, stderr.String())
	}
}
