package tallystick

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"os"
)

const module = "github.com/tallystick/tallystick/"

// may lists, for every package of the house, what else of the house its code
// may import; tests may import more. "x/*" stands for everything below x.
var may = map[string][]string{
	".":                  {},
	"drivers":            {},
	"drivers/line":       {"drivers"},
	"drivers/cjt188":     {"drivers"},
	"drivers/iec62056":   {"drivers"},
	"drivers/modbus":     {"drivers"},
	"drivers/dlt645":     {"drivers"},
	"drivers/replay":     {"drivers", "drivers/*"},
	"drivers/drivertest": {"drivers"},                   // a suite of tests, imported by tests only
	"drivers/profile":    {"drivers", "configs/strict"}, // one strict YAML reader for all files of ours
	"drivers/sim":        {"drivers", "drivers/profile", "drivers/sim/*"},
	"drivers/sim/meter":  {"drivers", "drivers/profile", "drivers/sim/plant"},
	"drivers/sim/plant":  {"drivers"},
	"buffer":             {"buffer/*"},
	"buffer/vfs":         {"buffer/vfs/private"},
	"buffer/vfs/private": {}, // who else may use a file: wherever secrets are read
	"buffer/vfs/crashfs": {"buffer/vfs"},
	"uplink":             {"uplink/evidence", "uplink/evidence/record"},
	"uplink/evidence":    {"uplink/custody/suite", "uplink/evidence/canon"},
	"uplink/verify":      {"uplink/custody/counter", "uplink/evidence", "uplink/evidence/bundle", "uplink/evidence/canon", "uplink/evidence/record", "uplink/witness/checkpoint"},
	"uplink/report":      {"uplink/evidence", "uplink/evidence/record", "uplink/verify"},
	// Fixed keys and streams for the tests of everybody behind the format.
	"uplink/evidence/evidencetest": {"uplink/custody/suite", "uplink/evidence", "uplink/evidence/*"},
	"uplink/evidence/canon":        {}, // how bytes are written, whatever they mean
	"uplink/evidence/record":       {"uplink/evidence", "uplink/evidence/canon"},
	"uplink/evidence/bundle":       {"uplink/evidence", "uplink/evidence/canon"},
	"uplink/evidence/seal":         {"uplink/evidence", "uplink/evidence/canon"}, // only boxes link it
	"uplink/mqtt":                  {"buffer/vfs/private"},
	"uplink/keyfile":               {"buffer/vfs", "buffer/vfs/private", "uplink/custody/suite"}, // both ends keep a key
	"uplink/custody":               {"uplink/custody/suite", "uplink/evidence", "uplink/keyfile"},
	"uplink/custody/counter":       {"uplink/custody/suite"}, // pure as well
	"uplink/custody/tpm":           {"uplink/custody", "uplink/custody/*", "uplink/keyfile"},
	"uplink/custody/custodytest":   {"uplink/custody/suite"}, // for tests
	"uplink/mqtt/mqtttest":         {},                       // for tests
	"uplink/custody/pkcs11":        {"buffer/vfs/private", "uplink/custody", "uplink/custody/suite"},
	"uplink/custody/suite":         {}, // pure: verifiers import it
	"uplink/lender":                {"buffer/vfs", "uplink", "uplink/*"},
	"uplink/witness":               {"buffer/vfs", "uplink/witness/checkpoint"}, // the disk, and one that crashes
	"uplink/witness/checkpoint":    {},                                          // offline verifiers need it too: no network, no files
	"agent":                        {"agent/*", "buffer", "buffer/*", "drivers", "uplink/evidence", "uplink/evidence/*"},
	"agent/aggregate":              {"drivers", "uplink/evidence"},
	"agent/clock":                  {"uplink/evidence"},
	"agent/desk":                   {"buffer/vfs", "uplink/evidence", "uplink/evidence/record"},
	"agent/history":                {"agent/clock", "buffer", "buffer/vfs", "uplink/evidence", "uplink/evidence/*"},
	"agent/window":                 {"agent/aggregate", "buffer", "buffer/vfs", "drivers", "uplink/evidence"},
	"agent/identity":               {"uplink/custody", "uplink/evidence", "uplink/keyfile"},
	"agent/judge":                  {"drivers"},
	"agent/schedule":               {},
	"configs":                      {"buffer/vfs", "buffer/vfs/private", "configs/strict"},
	"configs/strict":               {},
	"cmd/internal/cli":             {},
	"cmd/internal/words":           {"uplink/evidence", "uplink/evidence/record"}, // what both ends show to people
	"cmd/internal/scan":            {"drivers", "drivers/*"},
	"cmd/internal/recompute":       {"agent/aggregate", "drivers/profile", "uplink/evidence", "uplink/verify"},
	"cmd/internal/redecode":        {"drivers", "drivers/*", "uplink/evidence", "uplink/verify"},
	"cmd/internal/outcome":         {"cmd/internal/cli", "uplink/evidence", "uplink/report", "uplink/verify"},
	"cmd/internal/diagnose":        {"agent", "cmd/internal/cli", "configs", "drivers", "drivers/*"},
	"cmd/internal/service":         {"cmd/internal/cli", "configs", "packaging"},
	// Work at the meters needs no key, no log and no lender.
	"cmd/internal/technician": {"agent", "cmd/internal/assembly", "cmd/internal/cli", "cmd/internal/diagnose", "cmd/internal/scan", "configs", "configs/strict", "drivers", "drivers/*"},
	"cmd/internal/broker":     {"configs", "uplink", "uplink/mqtt"},
	// The only place where the field side, the log and the uplink meet; shared
	// by the agent's binary and the demo.
	"cmd/internal/assembly": {"cmd/internal/broker", "agent", "agent/*", "configs", "configs/*", "drivers", "drivers/*", "uplink", "uplink/*"},
	"cmd/tallystick":        {"agent", "agent/*", "buffer", "buffer/*", "cmd/internal/*", "configs", "configs/*", "uplink", "uplink/*"},
	"cmd/tally-lender":      {"buffer/vfs", "cmd/internal/broker", "cmd/internal/cli", "cmd/internal/recompute", "cmd/internal/redecode", "cmd/internal/outcome", "cmd/internal/words", "configs", "configs/*", "drivers/profile", "uplink", "uplink/*"},
	"cmd/tally-sim":         {"cmd/internal/cli", "drivers", "drivers/*"},
	"cmd/tally-demo":        {"agent", "agent/*", "buffer", "buffer/*", "cmd/internal/*", "configs", "configs/*", "drivers", "drivers/*", "uplink", "uplink/*"},
	"packaging":             {},
}

// only names the packages whose code may import a library that has one room.
var only = map[string][]string{
	"github.com/eclipse/paho.mqtt.golang": {"uplink/mqtt"},
	"github.com/goburrow/modbus":          {"drivers/modbus"},
	"go.bug.st/serial":                    {"drivers/line"},
	"github.com/kardianos/service":        {"cmd/internal/service"},
	"github.com/miekg/pkcs11":             {"uplink/custody/pkcs11"},
	"github.com/mochi-mqtt/server/v2":     {"cmd/tally-demo", "uplink/mqtt/mqtttest"},
	"github.com/mdp/qrterminal":           {"cmd/tallystick"},
	"github.com/veraison/go-cose":         {"uplink/evidence"},
	"github.com/emmansun/gmsm":            {"uplink/evidence", "uplink/evidence/evidencetest", "uplink/custody", "uplink/keyfile", "uplink/witness/checkpoint", "uplink/custody/suite"},
	"github.com/google/go-tpm":            {"uplink/custody/tpm"},
	"github.com/fxamacker/cbor/v2":        {"uplink/evidence/canon", "uplink/verify", "uplink/lender"},
	"github.com/spf13/cobra":              {"cmd/internal/cli", "cmd/internal/service", "cmd/internal/technician", "cmd/tallystick", "cmd/tally-lender", "cmd/tally-sim", "cmd/tally-demo"},
	"time/tzdata":                         {"cmd/internal/assembly"},
	// Packages imported by tests only.
	"testing": {"uplink/evidence/evidencetest", "uplink/custody/custodytest", "uplink/mqtt/mqtttest", "drivers/drivertest"},
}

func TestArrows(t *testing.T) {
	seen := map[string]bool{}
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || (d.Name() != "." && strings.HasPrefix(d.Name(), "."))) {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		pkg := path.Dir(name)
		seen[pkg] = true
		allowed, known := may[pkg]
		if !known {
			t.Errorf("package %s is not in the table: say in layers_test.go what it may import", pkg)
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range f.Imports {
			target, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				return err
			}
			if ours, ok := strings.CutPrefix(target, module); ok {
				if !slices.ContainsFunc(allowed, func(a string) bool { return covers(a, ours) }) {
					t.Errorf("%s: %s must not import %s", name, pkg, ours)
				}
				continue
			}
			for lib, rooms := range only {
				if (target == lib || strings.HasPrefix(target, lib+"/")) && !slices.Contains(rooms, pkg) {
					t.Errorf("%s: %s must not import %s, whose place is %v", name, pkg, target, rooms)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range may {
		if !seen[pkg] {
			t.Errorf("the table names package %s, which does not exist", pkg)
		}
	}
}

func covers(pattern, pkg string) bool {
	if below, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(pkg, below)
	}
	return pattern == pkg
}
