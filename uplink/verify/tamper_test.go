package verify

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/tallystick/tallystick/uplink/evidence"
)

var (
	mutations = flag.Uint64("mutations", 4_000/stride, "how many mutations TestTamper makes")
	honest    = flag.Uint64("honest", 300/stride, "how many logs TestTamperHonest makes")
	seed      = flag.Uint64("campaign", 1, "seed of the campaigns in tamper_test.go")
	only      = flag.Int64("case", -1, "run this one case, as a failure has named it")
)

// deterministicDecode reads what the box wrote.
func deterministicDecode(b []byte, v any) error { return cbor.Unmarshal(b, v) }

// campaign is a choice of feeds and what has been learned about them.
type campaign struct {
	t        testing.TB
	disarmed bool // a check is missing
	feeds    map[evidence.Suite][]*feed
	edits    []edit
	tails    tails
}

func newCampaign(t testing.TB, without string, suites ...evidence.Suite) *campaign {
	c := &campaign{t: t, disarmed: without != "", feeds: map[evidence.Suite][]*feed{}, edits: edits(t)}
	for _, s := range suites {
		c.feeds[s] = feeds(t, s, without)
	}
	return c
}

// levels of the campaign.
const (
	byteLevel = iota
	recordLevel
	fileLevel
	keyholderLevel
)

var levelNames = [...]string{"byte", "record", "file", "key holder"}

// mutate makes and judges mutation number i.
func (c *campaign) mutate(seed, i uint64) (level int, err error) {
	r := rand.New(rand.NewPCG(seed, i))
	suite := evidence.SuiteEd25519
	switch r.IntN(50) { // the other suites cost more
	case 0, 1:
		suite = evidence.SuiteES256
	case 2:
		suite = evidence.SuiteSM2
	}
	choice := c.feeds[suite]
	if choice == nil {
		choice = c.feeds[evidence.SuiteEd25519]
	}
	f := choice[r.IntN(len(choice))]
	p := r.IntN(100)
	if c.disarmed { // records and the key holder need every check there is; Bundle has all of them
		p = 60 + 25*(p%2)
	}
	switch {
	case p < 60:
		level, err = byteLevel, f.byteLevel(&c.tails, r)
	case p < 80:
		level, err = recordLevel, f.recordLevel(&c.tails, r)
	case p < 85:
		level, err = fileLevel, f.fileLevel(r)
	default:
		level, err = keyholderLevel, f.keyholderLevel(c.t, c.edits, r)
	}
	if err != nil {
		err = fmt.Errorf("suite %d, lender %q, %s: %w", f.suite, f.name, levelNames[level], err)
	}
	return level, err
}

// everyCase runs do for 0 to n-1 on all cores, or for the one case of the flag.
func everyCase(n uint64, do func(i uint64)) {
	if *only >= 0 {
		do(uint64(*only))
		return
	}
	var next atomic.Uint64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < n; i = next.Add(1) - 1 {
				do(i)
			}
		})
	}
	wg.Wait()
}

// TestTamper: nothing that is done to a log after it was made passes as if it had not
// been done; SPEC.md says what a reader cannot know, and judge and told say where the
// campaign heeds that.
func TestTamper(t *testing.T) {
	c := newCampaign(t, "", evidence.SuiteEd25519, evidence.SuiteES256, evidence.SuiteSM2)
	start := time.Now()
	var count [len(levelNames)]atomic.Uint64
	var faults atomic.Uint64
	everyCase(*mutations, func(i uint64) {
		level, err := c.mutate(*seed, i)
		count[level].Add(1)
		if err != nil && faults.Add(1) <= 20 {
			t.Errorf("%v\n\treproduce: go test ./uplink/verify -run 'TestTamper$' -args -campaign %d -case %d", err, *seed, i)
		}
	})
	var said []string
	for l := range count {
		said = append(said, fmt.Sprintf("%s %d", levelNames[l], count[l].Load()))
	}
	took := time.Since(start)
	t.Logf("seed %d: %d mutations (%s) in %.1f s, %.0f a second, %d not told",
		*seed, *mutations, strings.Join(said, ", "), took.Seconds(), float64(*mutations)/took.Seconds(), faults.Load())
}

// TestTamperNeedsEveryCheck takes out one check after the other: something must then pass
// undetected, else either the check or the campaign is good for nothing.
func TestTamperNeedsEveryCheck(t *testing.T) {
	if testing.Short() {
		t.Skip("the campaign itself runs under the race detector; this is about its strength")
	}
	for _, check := range slices.Concat(leafChecks(), blockChecks()) {
		t.Run(check.name, func(t *testing.T) {
			t.Parallel()
			c := newCampaign(t, check.name, evidence.SuiteEd25519)
			for i := range uint64(20_000) {
				if _, err := c.mutate(*seed, i); errors.Is(err, errUndetected) {
					t.Logf("case %d: %v", i, err)
					return
				}
			}
			t.Errorf("without the check %q nothing passes undetected", check.name)
		})
	}
}
