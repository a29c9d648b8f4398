package technician

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/drivers/profile"
)

// profiles runs tallystick profile ARGS.
func profiles(t *testing.T, args ...string) (stdout, stderr string, exit int) {
	t.Helper()
	var out, err strings.Builder
	exit = run(t.Context(), append([]string{"profile"}, args...), &out, &err)
	return out.String(), err.String(), exit
}

func TestProfileList(t *testing.T) {
	lib := profile.Builtin()
	out, stderr, exit := profiles(t, "list")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if exit != cli.Done || stderr != "" || len(lines) != len(lib.IDs())+1 {
		t.Fatalf("exit %d, %s, %d lines of %d profiles", exit, stderr, len(lines), len(lib.IDs()))
	}
	cells := runewidth.Condition{}
	for i, id := range lib.IDs() {
		p, err := lib.Get(id)
		if err != nil {
			t.Fatal(err)
		}
		before, name, found := strings.Cut(lines[i+1], "  "+p.Name.EN)
		head, _, _ := strings.Cut(lines[0], "  NAME")
		if !found || name != "" || cells.StringWidth(before) != cells.StringWidth(head) || !strings.HasPrefix(before, id+" ") || !strings.Contains(before, p.Name.ZH) {
			t.Errorf("%q under\n%q", lines[i+1], lines[0])
		}
	}
	out, _, exit = profiles(t, "list", "--json")
	var entries []map[string]string
	if err := json.Unmarshal([]byte(out), &entries); err != nil || exit != cli.Done || len(entries) != len(lib.IDs()) {
		t.Fatalf("exit %d, %v, %d entries", exit, err, len(entries))
	}
	i := slices.IndexFunc(entries, func(e map[string]string) bool { return e["id"] == "acrel-adw300" })
	if e := entries[i]; e["class"] != "meter" || e["protocol"] != "modbus" || e["vendor"] != "Acrel" || e["name_zh"] == "" || e["name_en"] == "" {
		t.Errorf("%v", e)
	}
}

func TestProfileShow(t *testing.T) {
	out, stderr, exit := profiles(t, "show", "peacefair-pzem016")
	for _, want := range []string{
		"peacefair-pzem016, version 1", "9600 8N1, unit 1", "requests a poll: 1", "read input registers 0x0000+9: 01 04 00 00 00 09 30 0C",
		"energy_import", "input 0x0005", "uint32 CDAB x0.001", "-alarm", "built in", "never send it", "STM32_PZEM016",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if exit != cli.Done || stderr != "" {
		t.Errorf("exit %d, %s", exit, stderr)
	}

	lib := profile.Builtin()
	for _, id := range lib.IDs() {
		p, err := lib.Get(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := readable(p); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		text, stderr, exit := profiles(t, "show", id)
		if exit != cli.Done || stderr != "" {
			t.Errorf("%s: exit %d, %s", id, exit, stderr)
		}
		machine, _, exit := profiles(t, "show", id, "--json")
		var s shownProfile
		if err := json.Unmarshal([]byte(machine), &s); err != nil || exit != cli.Done {
			t.Fatalf("%s: exit %d, %v", id, exit, err)
		}
		if len(s.Quantities) != len(p.Quantities()) || s.ID != id || len(s.SHA256) != 64 || (len(s.Requests) > 0) != (p.Protocol == profile.Modbus) {
			t.Errorf("%+v", s)
		}
		for _, fact := range append(append(p.Quantities(), p.Caveats...), s.SHA256, p.Name.ZH, p.Name.EN) {
			if !strings.Contains(text, fact) {
				t.Errorf("%s: %q is not shown", id, fact)
			}
		}
	}

	if _, stderr, exit := profiles(t, "show", "eastron-sdm63"); exit != cli.Usage || !strings.Contains(stderr, `did you mean "eastron-sdm630"?`) {
		t.Errorf("exit %d, %s", exit, stderr)
	}
}

func TestProfileCheck(t *testing.T) {
	dir := t.TempDir()
	builtin, err := os.ReadFile("../../../drivers/profile/data/peacefair-pzem016.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := func(name, old, new string) string {
		path := filepath.Join(dir, name)
		text := strings.Replace(string(builtin), "id: peacefair-pzem016", "id: mine", 1)
		if err := os.WriteFile(path, []byte(strings.Replace(text, old, new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good.yaml", "", "")
	bad := file("bad.yaml", "version: 1\n", "version: 0\nbaud: 9600\n")
	second := file("second.yaml", "id: mine", "id: mine")
	taken := file("taken.yaml", "id: mine", "id: peacefair-pzem016")
	unreadable := filepath.Join(dir, "unreadable.yaml")
	if err := os.WriteFile(unreadable, []byte(`id: no-such-thing
version: 1
name: {zh: 某某, en: Acme}
vendor: Acme
class: meter
protocol: dlt645-2007
serial: 2400 8E1
items:
  - {quantity: secret, id: "FFFFFFFF"}
sources: [a book]
`), 0o600); err != nil {
		t.Fatal(err)
	}

	out, stderr, exit := profiles(t, "check", good)
	if want := good + ": ok, mine, quantities: 7, read by default: 6, requests a poll: 1\n"; exit != cli.Done || stderr != "" || out != want {
		t.Errorf("exit %d, %s%s", exit, out, stderr)
	}
	out, stderr, exit = profiles(t, "check", bad, good, second, taken, unreadable)
	for _, want := range []string{
		bad + ":3:1: E-107 unknown key \"baud\"\n    3 | baud: 9600\n      | ^\n",
		second + `:1:5: E-108 id: "mine" is taken by ` + good,
		taken + `:1:5: E-108 id: "peacefair-pzem016" is taken by a built-in profile`,
		unreadable + ": E-111 item secret: ",
		bad + ":2:10: E-111 version: 0, expected 1 or more",
		"error: 5 faults, listed above",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in\n%s", want, stderr)
		}
	}
	if exit != cli.Usage || !strings.HasPrefix(out, good+": ok") || strings.Count(out, "\n") != 1 {
		t.Errorf("exit %d, %s", exit, out)
	}
	if _, stderr, exit := profiles(t, "check", filepath.Join(dir, "nowhere")); exit != cli.Environment {
		t.Errorf("exit %d, %s", exit, stderr)
	}
	if _, stderr, exit := profiles(t, "check"); exit != cli.Usage {
		t.Errorf("exit %d, %s", exit, stderr)
	}

	// The same files as a directory.
	if _, stderr, exit := profiles(t, "list", "--profiles", dir); exit != cli.Usage || !strings.Contains(stderr, "has 4 faults, listed above") {
		t.Errorf("exit %d, %s", exit, stderr)
	}
	if _, stderr, exit := profiles(t, "check", dir); exit != cli.Usage || !strings.Contains(stderr, bad+":3:1: E-107") || !strings.Contains(stderr, "faults, listed above") {
		t.Errorf("exit %d, %s", exit, stderr)
	}
	if _, stderr, exit := profiles(t, "check", t.TempDir()); exit != cli.Usage || !strings.Contains(stderr, "has no profile") {
		t.Errorf("exit %d, %s", exit, stderr)
	}
	for _, name := range []string{bad, second, taken, unreadable} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if out, stderr, exit := profiles(t, "show", "mine", "--profiles", dir); exit != cli.Done || !strings.Contains(out, good) {
		t.Errorf("exit %d, %s", exit, stderr)
	}
}
