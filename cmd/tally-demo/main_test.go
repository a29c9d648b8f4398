package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
)

// The last line of --json is a contract with scripts: its fields, and that the
// people's show stays off stdout.
func TestResultLine(t *testing.T) {
	if testing.Short() {
		t.Skip("plays for eight seconds")
	}
	t.Parallel()
	for name, c := range map[string]struct {
		args   []string
		tamper bool
	}{
		"with tampering": {[]string{"--for", "8s", "--json"}, true},
		"without":        {[]string{"--for", "5s", "--no-tamper", "--json"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, people bytes.Buffer
			if exit := run(context.Background(), c.args, &out, &people); exit != 0 {
				t.Fatalf("exit %d\n%s%s", exit, out.String(), people.String())
			}
			if n := strings.Count(out.String(), "\n"); n != 1 {
				t.Fatalf("%d lines on stdout, want the result alone:\n%s", n, out.String())
			}
			var r map[string]any
			if err := json.Unmarshal(out.Bytes(), &r); err != nil {
				t.Fatal(err)
			}
			for field, want := range map[string]any{"meters": 6.0, "gaps": 0.0, "altered": 0.0, "verdict": "verified"} {
				if r[field] != want {
					t.Errorf("%s is %v, want %v", field, r[field], want)
				}
			}
			if r["readings"] != r["readings_verified"] || r["readings"].(float64) < 100 {
				t.Errorf("%v readings taken, %v verified: want the same, and many", r["readings"], r["readings_verified"])
			}
			if w, ok := r["windows_verified"].(float64); !ok || w < 2 {
				t.Errorf("%v windows verified", r["windows_verified"])
			}
			if b, ok := r["bytes_per_reading"].(float64); !ok || b < 1 || b > 100 {
				t.Errorf("%v bytes a reading", r["bytes_per_reading"])
			}
			if c.tamper {
				if r["tampering_tried"] != 3.0 || r["tampering_detected"] != 3.0 {
					t.Errorf("%v acts tried, %v detected, want 3 and 3", r["tampering_tried"], r["tampering_detected"])
				}
				for _, word := range []string{"altered (", "replayed (", "gap ("} {
					if !strings.Contains(people.String(), word) {
						t.Errorf("the lender never says %s", word)
					}
				}
			} else if _, there := r["tampering_tried"]; there {
				t.Error("tampering is counted although there was none")
			}
		})
	}
}

func TestUsage(t *testing.T) {
	var out, people bytes.Buffer
	if exit := run(context.Background(), []string{"--fro", "3s"}, &out, &people); exit != 2 || !strings.Contains(people.String(), "unknown flag: --fro") {
		t.Errorf("exit %d, %q", exit, people.String())
	}
}
