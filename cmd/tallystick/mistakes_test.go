//go:build linux

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"github.com/tallystick/tallystick/drivers/sim"
)

// The mistakes people make, numbered as in docs/messages.md, and the exact
// words of our answers to them.

const goodSite = `site: {name: workshop}
lines:
  - name: hall-a
    port: DIR/meter
meters:
  - name: press-1
    line: hall-a
    address: 7
    profile: eastron-sdm630
    interval: 1s
buffer: {directory: "DIR/box", sync_interval: 100ms}
window: 2s
`

func TestMistakesInTheSiteFile(t *testing.T) {
	for _, c := range []struct {
		name, old, new string
		want           string
		json           string
	}{
		{"01 typo in a key", "address: 7", "adress: 7", `DIR/site.yaml:8:5: E-107 unknown key "adress" in this entry of meters
    8 |     adress: 7
      |     ^
      → did you mean "address"?
`, `{"file":"DIR/site.yaml","line":8,"column":5,"code":"E-107","message":"unknown key \"adress\" in this entry of meters","hint":"did you mean \"address\"?"}`},
		{"02 required key missing", "    profile: eastron-sdm630\n", "", `DIR/site.yaml:6:5: E-109 key "profile" is missing in this entry of meters
    6 |   - name: press-1
      |     ^
      → add it: profile: ...
`, `{"file":"DIR/site.yaml","line":6,"column":5,"code":"E-109","message":"key \"profile\" is missing in this entry of meters","hint":"add it: profile: ..."}`},
		{"03 wrong type", "address: 7", "address: seven", `DIR/site.yaml:8:14: E-110 address: expected a whole number, found the text "seven"
    8 |     address: seven
      |              ^
      → write it as in address: 7
`, `{"file":"DIR/site.yaml","line":8,"column":14,"code":"E-110","message":"address: expected a whole number, found the text \"seven\"","hint":"write it as in address: 7"}`},
		{"04 duplicate meter name", "buffer:", "  - {name: press-1, line: hall-a, address: 8, profile: eastron-sdm630, interval: 1s}\nbuffer:", `DIR/site.yaml:11:12: E-131 meter name "press-1" is taken, first at line 6 column 11
   11 |   - {name: press-1, line: hall-a, address: 8, profile: eastron-sdm630,…
      |            ^
      → give one of the two another name
`, `{"file":"DIR/site.yaml","line":11,"column":12,"code":"E-131","message":"meter name \"press-1\" is taken, first at line 6 column 11","hint":"give one of the two another name"}`},
		{"05 syntax", "line: hall-a", "line hall-a", `DIR/site.yaml:7:9: E-104 a colon is missing after "line"
    7 |     line hall-a
      |         ^
      → write line: hall-a
`, `{"file":"DIR/site.yaml","line":7,"column":9,"code":"E-104","message":"a colon is missing after \"line\"","hint":"write line: hall-a"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for line := range strings.Lines(c.want) {
				if !strings.Contains(line, " | ") && !strings.HasSuffix(line, "^\n") { // the source line and its caret
					documented(t, line)
				}
			}
			if strings.Count(goodSite, c.old) != 1 {
				t.Fatalf("%q is not once in the good file", c.old)
			}
			dir, path := site(t, strings.Replace(goodSite, c.old, c.new, 1))
			want := c.want + `tallystick: error: DIR/site.yaml has 1 fault, listed above
tallystick: hint: nothing was started; correct the file and run: tallystick check
`
			for _, verb := range []string{"check", "run", "read"} {
				exit, stdout, stderr := command(t, dir, verb, "--config", path)
				same(t, verb, stderr, want)
				if exit != 2 || stdout != "" {
					t.Errorf("%s: exit %d, stdout %q; want 2 and none", verb, exit, stdout)
				}
			}
			exit, stdout, _ := command(t, dir, "check", "--json", "--config", path)
			same(t, "check --json", stdout, `{"valid":false,"faults":[`+c.json+`],"warnings":[]}`+"\n")
			if exit != 2 {
				t.Errorf("check --json: exit %d, want 2", exit)
			}
			if _, err := os.Stat(filepath.Join(dir, "box")); err == nil {
				t.Error("something was made although the file is faulty")
			}
		})
	}
}

func TestGoodFileIsSaidToBe(t *testing.T) {
	dir, path := site(t, goodSite)
	exit, stdout, stderr := command(t, dir, "check", "--config", path)
	same(t, "check", stderr, "DIR/site.yaml is in order: reading 1 meter on 1 line, sending to 0 lenders\n")
	if exit != 0 || stdout != "" {
		t.Errorf("exit %d, stdout %q", exit, stdout)
	}
	exit, stdout, _ = command(t, dir, "check", "--json", "--config", path)
	same(t, "check --json", stdout, `{"valid":true,"faults":[],"warnings":[]}`+"\n")
	if exit != 0 {
		t.Errorf("exit %d, want 0", exit)
	}
}

// What a site file names may be a pipe, a directory or nothing. Nothing waits
// for it.
func TestMistakesInNamedFiles(t *testing.T) {
	const lender = "lenders:\n  - {name: bank-a, broker: mqtts://HOST:8883, share: [energy], ack: puback, %s}\n"
	const invalid = "tallystick: error: DIR/site.yaml has 1 fault, listed above\ntallystick: hint: nothing was started; correct the file and run: tallystick check\n"
	for _, c := range []struct{ name, lender, more, want string }{
		{"CA is a pipe", "tls: {ca: DIR/pipe}", "", `tallystick: error: E-302 lender bank-a: tls.ca DIR/pipe: cannot be read: is a device or a pipe, expected a PEM file
tallystick: hint: the path must name a readable file
`},
		{"CA is missing", "tls: {ca: DIR/none}", "", `tallystick: error: E-302 lender bank-a: tls.ca DIR/none: no such file
tallystick: hint: check the path; a relative path starts at the folder of the configuration file
`},
		{"password is missing", "username: box,\n     password_file: none", "", `DIR/site.yaml:15:21: E-120 DIR/none: the file does not exist
   15 |      password_file: none}
      |                     ^
      → write the password into it, alone on one line, and: chmod 600 DIR/none
` + invalid},
		{"key is a pipe", "", "key: DIR/pipe\n", `tallystick: error: E-501 key file DIR/pipe: is a directory, device or pipe, expected a PEM file
tallystick: hint: name a file as key: in the configuration
`},
		{"key is not a key", "", "key: DIR/site.yaml\n", `tallystick: error: E-501 key file DIR/site.yaml: holds no PRIVATE KEY
tallystick: hint: restore the file from your backup; with a new key the other side must accept you again
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			content := goodSite
			if c.lender != "" {
				content += strings.ReplaceAll(fmt.Sprintf(lender, c.lender), "HOST", "127.0.0.1")
			}
			dir, path := site(t, content+c.more)
			if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
				t.Fatal(err)
			}
			exit, _, stderr := command(t, dir, "check", "--config", path)
			same(t, "check", stderr, c.want)
			if exit != 2 {
				t.Errorf("exit %d, want 2", exit)
			}
		})
	}
	for name, want := range map[string]string{
		"none.yaml": "E-120 the file does not exist\n      → begin with one of configs/examples in the source; tallystick scan prints the lines and meters of a site file\n",
		"pipe":      "E-121 this is a device or a pipe, expected a file\n      → see what it is: ls -l DIR/pipe\n",
	} {
		t.Run("site file "+name, func(t *testing.T) {
			dir := t.TempDir()
			if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
				t.Fatal(err)
			}
			exit, _, stderr := command(t, dir, "run", "--config", filepath.Join(dir, name))
			same(t, "run", stderr, "DIR/"+name+": "+want+"tallystick: error: DIR/"+name+" has 1 fault, listed above\ntallystick: hint: nothing was started; correct the file and run: tallystick check\n")
			if exit != 2 {
				t.Errorf("exit %d, want 2", exit)
			}
		})
	}
}

// deadTable is what read shows for a meter that says nothing.
func deadTable(quality string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "press-1  unit 7  eastron-sdm630\n")
	for _, q := range strings.Fields("voltage_l1:V voltage_l2:V voltage_l3:V current_l1:A current_l2:A current_l3:A power_l1:W power_l2:W power_l3:W power:W " +
		"reactive_power:var power_factor: frequency:Hz energy_import:kWh energy_export:kWh reactive_import:kvarh reactive_export:kvarh") {
		name, unit, _ := strings.Cut(q, ":")
		fmt.Fprintf(&b, "  %-22s              — %-6s %s\n", name, unit, quality)
	}
	return b.String()
}

func TestMistake06WrongPortPath(t *testing.T) {
	t.Parallel()
	dir, path := site(t, goodSite)
	exit, stdout, stderr := command(t, dir, "read", "--config", path)
	same(t, "stdout", stdout, deadTable("disconnected"))
	same(t, "stderr", stderr, `tallystick: error: E-201 line "hall-a": port DIR/meter does not exist; PORTS
tallystick: hint: plug the adapter in, or write one of the ports listed as port: (by-id names survive replugging); readings go on by themselves when it is there
`)
	documented(t, stderr)
	if exit != 3 {
		t.Errorf("exit %d, want 3", exit)
	}

	// The agent says it once and reads as soon as the port is there.
	agent := background(t, "run", "--config", path)
	agent.says("E-201")
	_, units := meters(t, sim.RTU, filepath.Join(dir, "meter"), 7)
	until(t, func() bool { return units[7].Requests() > 0 }, func() string { return "the port is there and nothing is read:\n" + agent.stderr.String() })
	agent.says("line is open again")
	agent.stop(0)
	same(t, "run", agent.warnings(dir), `level=WARN msg="E-201 line \"hall-a\": port DIR/meter does not exist; PORTS" do="plug the adapter in, or write one of the ports listed as port: (by-id names survive replugging); readings go on by themselves when it is there"
`)
}

func TestMistake07NoPermission(t *testing.T) {
	t.Parallel()
	master, slave, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	defer master.Close()
	defer slave.Close()
	if err := os.Chmod(slave.Name(), 0); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "tallystick-") // one that others may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := put(t, filepath.Join(dir, "site.yaml"), strings.ReplaceAll(strings.ReplaceAll(goodSite, "DIR/meter", slave.Name()), "DIR", dir))
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := child("unprivileged", "read", "--config", path)
	cmd.Dir = dir
	var stdout, stderr text
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Run()
	user := "root"
	if _, after, ok := strings.Cut(stderr.String(), "by user "); ok {
		user, _, _ = strings.Cut(after, " ")
	}
	same(t, "stdout", tidy(dir, stdout.String()), deadTable("disconnected"))
	said := strings.ReplaceAll(tidy(dir, stderr.String()), user, "USER")
	documented(t, said)
	same(t, "stderr", said, `tallystick: error: E-202 line "hall-a": port PTS may not be opened by user USER nor by any group: run `+"`sudo chgrp dialout PTS && sudo chmod 660 PTS && sudo usermod -aG dialout USER`"+`, then log in again or restart the service
tallystick: hint: run the command named above; the installed service has this right already
`)
	if exit := cmd.ProcessState.ExitCode(); exit != 3 || user == "root" {
		t.Errorf("exit %d as user %s, want 3 as somebody who may not", exit, user)
	}
}

func TestMistake08PortInUse(t *testing.T) {
	t.Parallel()
	master, slave, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	defer master.Close()
	port := slave.Name()
	holder := child("hold", port)
	hold(t, holder)
	slave.Close()
	dir, path := site(t, strings.ReplaceAll(goodSite, "DIR/meter", port))
	exit, stdout, stderr := command(t, dir, "read", "--config", path)
	same(t, "stdout", stdout, deadTable("disconnected"))
	// The kernel keeps 15 characters of a program's name; ours is run as "exe".
	same(t, "stderr", stderr, `tallystick: error: E-208 line "hall-a": port PTS is used by exe (pid PID): stop that program, a line can have one master only
tallystick: hint: end the other program; if it is tallystick itself: tallystick service stop; readings go on by themselves when the port is free
`)
	documented(t, stderr)
	if exit != 3 {
		t.Errorf("exit %d, want 3", exit)
	}
}

// hold starts a child and waits until it holds what it is to hold.
func hold(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "held\n" {
		t.Fatalf("child: %q %v", line, err)
	}
}

// A dead meter is never a number, in no form of output, and its neighbour says
// whether the line is to blame.
func TestDeadMeterIsNoNumber(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	meters(t, sim.RTU, filepath.Join(dir, "meter"), 8)
	alone := put(t, filepath.Join(dir, "alone.yaml"), strings.ReplaceAll(goodSite, "DIR", dir))
	exit, stdout, stderr := command(t, dir, "read", "--config", alone)
	same(t, "table", stdout, deadTable("timeout"))
	same(t, "stderr", stderr, `tallystick: error: E-204 meter "press-1" (unit 7, DIR/meter 9600 8N1) gives no answer: timeout after 1s; nothing on this line answers
tallystick: hint: check the wires (A and B may be swapped), the power of the meters, that this is the right port, and address: 7 and serial: in the site file; to try other settings and addresses: tallystick scan DIR/meter
`)
	if exit != 1 {
		t.Errorf("exit %d, want 1", exit)
	}

	both := put(t, filepath.Join(dir, "both.yaml"), strings.ReplaceAll(strings.Replace(goodSite, "buffer:", "  - {name: press-2, line: hall-a, address: 8, profile: eastron-sdm630, interval: 1s, timeout: 30s, quantities: [frequency]}\nbuffer:", 1), "DIR", dir))
	exit, stdout, stderr = command(t, dir, "read", "--config", both)
	table, live, _ := strings.Cut(stdout, "press-2")
	same(t, "table", table, deadTable("timeout"))
	if exit != 1 || !strings.Contains(live, " Hz\n") || strings.Contains(live, "—") {
		t.Errorf("exit %d, the live meter: %s", exit, live)
	}
	want := `tallystick: error: E-204 meter "press-1" (unit 7, DIR/meter 9600 8N1) gives no answer: timeout after 1s; another meter on this line answers, so the line is fine
tallystick: hint: compare the unit number on the meter's display with address: 7 in the site file, and check that the meter has power; to find it: tallystick scan DIR/meter
`
	same(t, "stderr", stderr, want)

	_, stdout, stderr = command(t, dir, "read", "--json", "--config", both)
	same(t, "stderr with --json", stderr, want)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if len(lines) != 18 {
		t.Fatalf("%d objects, want 17 of the dead meter and 1 of the live one:\n%s", len(lines), stdout)
	}
	same(t, "first object", lines[0], `{"meter":"press-1","quantity":"voltage_l1","value":null,"unit":"V","quality":"timeout","time":"TIME"}`)
	for _, l := range lines[:17] {
		if !strings.Contains(l, `"value":null`) || !strings.Contains(l, `"quality":"timeout"`) {
			t.Errorf("a dead meter: %s", l)
		}
	}
	if l := lines[17]; strings.Contains(l, `"value":null`) || !strings.Contains(l, `"quality":"ok"`) {
		t.Errorf("the live meter: %s", l)
	}
}
