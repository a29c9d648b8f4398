//go:build linux

package sim

import (
	"context"
	"path/filepath"
	"testing"
)

func TestDemo(t *testing.T) {
	dir := t.TempDir()
	f, meters, err := Demo(1, dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	defer f.Run(ctx)
	if len(meters) != 6 || len(f.Lines) != 3 || f.Lines[0].Address != filepath.Join(dir, "hall-a") {
		t.Fatalf("%d meters on %+v", len(meters), f.Lines)
	}
	for _, m := range meters {
		if f.Lines[m.Line].Units[m.Unit] != m.Modbus {
			t.Errorf("%s is not unit %d of line %d", m.Name(), m.Unit, m.Line)
		}
		if v, ok := m.Reading("power"); !ok || v.Coef <= 0 {
			t.Errorf("%s draws %v", m.Name(), v)
		}
	}
}
