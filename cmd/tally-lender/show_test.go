package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestShowCommand(t *testing.T) {
	good, key := bundleOf(t, func(ds [][]byte) [][]byte { return ds })
	if exit, stdout, stderr := command("show", good, "--key", key); exit != 0 || strings.Count(stdout, "\n") != 9 || !strings.Contains(stderr, "核验通过") {
		t.Errorf("exit %d, %s%s", exit, stdout, stderr)
	}
	exit, stdout, _ := command("show", good, "--key", key, "--leaf", "2", "--json")
	var leaf struct {
		N       uint64
		Samples []struct{ Value *string }
	}
	if err := json.Unmarshal([]byte(stdout), &leaf); err != nil || exit != 0 || leaf.N != 2 || len(leaf.Samples) != 15 || *leaf.Samples[0].Value != "324938.00" {
		t.Errorf("exit %d, %v, %s", exit, err, stdout)
	}
	if exit, stdout, _ := command("show", good, "--key", key, "--json"); exit != 0 || strings.Count(stdout, `{"n":`) != 8 {
		t.Errorf("exit %d, %s", exit, stdout)
	}
	if exit, stdout, _ := command("show", good, "--key", key, "--leaf", "0"); exit != 0 || !strings.Contains(stdout, `meter      "oven"`) {
		t.Errorf("exit %d, %s", exit, stdout)
	}
	if exit, _, stderr := command("show", good, "--key", key, "--leaf", "99"); exit != 2 || !strings.Contains(stderr, "has no leaf 99; it has 0 to 7") {
		t.Errorf("exit %d, %s", exit, stderr)
	}
	altered, _ := bundleOf(t, func(ds [][]byte) [][]byte {
		ds[3] = bytes.Clone(ds[3])
		ds[3][len(ds[3])-1] ^= 1
		return ds
	})
	if exit, stdout, _ := command("show", altered, "--key", key, "--leaf", "3"); exit != 4 || !strings.Contains(stdout, "altered") || strings.Contains(stdout, "kWh") {
		t.Errorf("exit %d, %s", exit, stdout)
	}
}
