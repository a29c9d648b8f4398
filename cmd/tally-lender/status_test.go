package main

import (
	"bytes"
	"context"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/mqtt/mqtttest"
	"github.com/tallystick/tallystick/uplink/verify"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	broker := "mqtt://" + mqtttest.Broker(t, mqtttest.Anywhere, nil)
	_, config := bankA(t, broker)
	if exit, stdout, stderr := command("status", "-c", config); exit != 0 || stdout != "box plant-7: nothing received yet\n" {
		t.Errorf("exit %d, %s%s", exit, stdout, stderr)
	}
	b := newBox(t, broker, 4)
	var printed, logged syncBuffer
	stopWatch := background(t, func(ctx context.Context) { run(ctx, []string{"watch", "-c", config, "-v"}, &printed, &logged) })
	eventually(t, "the watch", func() bool { return strings.Contains(logged.String(), "connected") })
	stop := b.ship(evidence.Energy)
	eventually(t, "all receipts", func() bool { return b.Get() == b.Next() })
	exit, stdout, stderr := command("status", "-c", config, "--json") // beside the watch
	if exit != 0 || !strings.Contains(stdout, `"newest":5,`) || !strings.Contains(stdout, `"second_log":false`) {
		t.Errorf("exit %d, %s%s", exit, stdout, stderr)
	}
	stop()
	other := newBox(t, broker, 1)
	other.s = evidencetest.NewStreamOf(t, evidencetest.Signer(1), evidencetest.Signer(3), 1)
	other.ship(evidence.Energy)
	eventually(t, "the second log", func() bool { return other.Get() == 3 })
	stopWatch()

	w, err := loadWatch(config, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	// A day later the first two of four windows are older than 24 hours.
	now := time.UnixMilli(evidencetest.Start + 2*evidencetest.SmallMS).Add(24 * time.Hour)
	logs, err := statusOf(w, config, now, io.Discard)
	if err != nil || len(logs) != 2 {
		t.Fatalf("%+v, %v", logs, err)
	}
	i := 0
	if logs[1].Log == b.s.Writer.LogID().String() { // both began in the same millisecond
		i = 1
	}
	if s := logs[i]; *s.Newest != 5 || s.End.UnixMilli() != evidencetest.Start+4*evidencetest.SmallMS || s.Waiting != nil || s.Forks != 0 || !reflect.DeepEqual(s.Grades, map[verify.Grade]uint64{verify.GradeD: 2}) {
		t.Errorf("%+v", s)
	}
	if logs[0].Second || !logs[1].Second {
		t.Errorf("%+v", logs)
	}
	var text bytes.Buffer
	s := logs[i]
	s.Waiting, s.Forks, s.Second, s.Explained = &waited{6, 9, now.Add(-time.Minute)}, 1, true, "loss, after 9 leaves of log 00"
	if err := s.write(&text, now); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"newest leaf 5, ended ", ", 23h59m0s ago", "leaves 6 to 9 are waited for since ", ", 1m0s ago", "forked; proofs of two histories kept: 1", "declares: loss, after 9 leaves", "by grade: D 2\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, text.String())
		}
	}
}
