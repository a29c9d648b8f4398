package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/verify"
)

// tampering counts the acts and those the lender named rightly.
type tampering struct {
	Tried    int `json:"tampering_tried"`
	Detected int `json:"tampering_detected"`
}

// act is one way to tamper with a copy of the evidence.
type act struct {
	en, zh string
	want   verify.Verdict
	// do returns what the lender is shown instead of the true deliveries, and
	// the position at which it should notice.
	do func(ds [][]byte, victim int) (shown [][]byte, at int)
}

func acts() []act {
	return []act{
		{"alters one stored byte of window %d", "改动了第 %d 个时间窗中的一个字节", verify.Altered,
			func(ds [][]byte, v int) ([][]byte, int) {
				ds[v] = bytes.Clone(ds[v])
				ds[v][len(ds[v])-2] ^= 1 // in the last block's values
				return ds, v
			}},
		{"replays the old window %d", "把旧的第 %d 个时间窗再发一次", verify.Replayed,
			func(ds [][]byte, v int) ([][]byte, int) { return slices.Insert(ds, v+3, ds[v]), v + 3 }},
		{"drops window %d", "丢掉了第 %d 个时间窗", verify.Gap,
			func(ds [][]byte, v int) ([][]byte, int) { return slices.Delete(ds, v, v+1), v }},
	}
}

// tamperAct tampers with copies of what the lender archived and lets a lender
// who knows the beginning see each.
func tamperAct(archive string, key evidence.PublicKey, people io.Writer) (*tampering, error) {
	deliveries, victim, err := readArchive(archive)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(people, "\nNow somebody tampers with copies of the evidence 现在有人对证据的副本动手脚:")
	t := &tampering{}
	for _, a := range acts() {
		t.Tried++
		shown, at := a.do(slices.Clone(deliveries), victim)
		r, err := firstObjection(shown, key)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(people, "  somebody "+a.en+" · "+a.zh+"\n", victim, victim)
		if r == nil {
			fmt.Fprintln(people, "    the lender noticed nothing 贷方没有发现")
			continue
		}
		if r.Verdict == a.want && r.at == at {
			t.Detected++
		}
		fmt.Fprintf(people, "    lender 贷方: %s (%s)\n      %s\n      %s\n", r.Verdict, r.Verdict.Chinese(), r.Reasons[0].En, r.Reasons[0].Zh)
	}
	return t, nil
}

// objection is the first result that is not verified.
type objection struct {
	verify.Result
	at int // position in what was shown
}

func firstObjection(shown [][]byte, key evidence.PublicKey) (*objection, error) {
	v, err := verify.New(key, nil)
	if err != nil {
		return nil, err
	}
	for i, d := range shown {
		if r := v.Next(d, time.Now()); r.Verdict != verify.Verified {
			return &objection{r, i}, nil
		}
	}
	return nil, nil
}

// readArchive returns the deliveries of a bundle and the position of a window
// with readings in its middle.
func readArchive(path string) (ds [][]byte, victim int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	r, err := bundle.NewReader(f)
	if err != nil {
		return nil, 0, err
	}
	var windows []int
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, 0, err
		}
		d, err := evidence.ParseDelivery(b)
		if err != nil {
			return nil, 0, err
		}
		if len(d.Blocks) > 0 {
			windows = append(windows, len(ds))
		}
		ds = append(ds, bytes.Clone(b))
	}
	if len(windows) < 3 {
		return nil, 0, fmt.Errorf("the lender has %d windows, too few to tamper with: let the demo run longer", len(windows))
	}
	return ds, windows[len(windows)/2-1], nil
}
