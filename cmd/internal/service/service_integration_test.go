//go:build integration

package service

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kardianos/service"
)

// TestIntegrationSystemdUnit installs the service through kardianos/service on
// systemd, with a systemctl that only notes what it is asked, and lets systemd's
// own tools judge the unit that is written.
func TestIntegrationSystemdUnit(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("writes below /etc/systemd/system, which takes root")
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	dir := t.TempDir()
	asked := filepath.Join(dir, "asked")
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte("#!/bin/sh\necho \"$@\" >> "+asked+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))

	c, err := describe("/etc/tallystick/with space.yaml", "/var/lib/tallystick")
	if err != nil {
		t.Fatal(err)
	}
	c.Name = "tallystick-selftest"
	var svc service.Service
	for _, system := range service.AvailableSystems() {
		if system.String() == "linux-systemd" {
			if svc, err = system.New(idle{}, c); err != nil {
				t.Fatal(err)
			}
		}
	}
	if svc == nil {
		t.Fatal("kardianos/service knows no linux-systemd")
	}
	if err := svc.Install(); err != nil {
		t.Fatal(err)
	}
	unit := "/etc/systemd/system/" + c.Name + ".service"
	t.Cleanup(func() { os.Remove(unit) })
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if want := "ExecStart=" + exe + ` "run" "--config" "/etc/tallystick/with space.yaml" "--last-good" "/var/lib/tallystick"`; !strings.Contains(string(text), want) {
		t.Errorf("the unit does not hold %q:\n%s", want, text)
	}
	if strings.Contains(string(text), "{{") {
		t.Errorf("a placeholder is left in the unit:\n%s", text)
	}
	if out, err := exec.Command(analyze, "verify", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// 2.5 of 10; without the hardening it is above 9.
	if out, err := exec.Command(analyze, "security", "--offline=true", "--threshold=25", unit).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
	if err := svc.Uninstall(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(unit); !os.IsNotExist(err) {
		t.Errorf("after uninstall the unit is still there: %v", err)
	}
	log, _ := os.ReadFile(asked)
	if got := string(log); !strings.Contains(got, "enable "+c.Name) || !strings.Contains(got, "disable "+c.Name) {
		t.Errorf("systemctl was asked:\n%s", got)
	}
}
