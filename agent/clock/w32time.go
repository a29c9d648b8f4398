package clock

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// What the Windows Time service says of itself is read from
// w32tm /query /status /verbose. The service's own interface (W32TimeQueryStatus,
// [MS-W32T] section 3.2.5.2.7) would need a marshalled remote call that nobody
// publishes a client for, the functions of the same name in w32time.dll are
// documented nowhere, and the registry holds settings and no state. The command
// is documented ("Windows Time service tools and settings", learn.microsoft.com),
// and prints the fields of W32TIME_STATUS_INFO ([MS-W32T] section 2.2.17) in one
// order in every language; labels and words are translated and in the console's
// code page, numbers are neither.

// w32Status is what is needed of W32TIME_STATUS_INFO.
type w32Status struct {
	leap       int    // eLeapIndicator: 3 is not synchronised
	stratum    int    // nStratum: 0 is unspecified
	reference  uint32 // refidSource
	rootDelay  time.Duration
	dispersion time.Duration
	offset     time.Duration // toSysPhaseOffset: what is still to be corrected
	machine    int           // ulLcState: 0 unset, 1 hold, 2 sync
	age        time.Duration // since the last good synchronisation
}

// parseW32Status reads the output of the command, in any code page in which
// bytes below 0x40 are ASCII's wherever they stand, as they are in all that
// Windows has for its languages. ok is false where the output is not of that form;
// so it is when the service does not run.
func parseW32Status(out []byte) (s w32Status, ok bool) {
	var values []string
	for line := range bytes.Lines(out) {
		// One without a colon goes on with the words of the line before.
		if _, value, found := bytes.Cut(line, []byte(":")); found {
			values = append(values, string(bytes.TrimSpace(value)))
		}
	}
	if len(values) < 16 {
		return s, false
	}
	ok = true
	number := func(i int) int {
		n, valid := leadingInt(values[i])
		ok = ok && valid
		return n
	}
	seconds := func(i int) time.Duration {
		d, valid := w32Seconds(values[i])
		ok = ok && valid
		return d
	}
	s.leap, s.stratum = number(0), number(1)
	number(2) // precision
	s.rootDelay, s.dispersion = seconds(3), seconds(4)
	id, isID := strings.CutPrefix(values[5], "0x")
	reference, err := strconv.ParseUint(id[:min(8, len(id))], 16, 32)
	s.reference = uint32(reference)
	// The time of the last success and the name of the source are words.
	number(8) // poll interval, of which the exponent comes first
	s.offset = seconds(9)
	seconds(10) // clock rate
	s.machine = number(11)
	number(12) // flags of the source
	number(13) // role
	number(14) // last error
	s.age = seconds(15)
	return s, ok && isID && err == nil
}

// leadingInt reads the integer that s begins with: "0(no warning)", "-23 (119ns)".
func leadingInt(s string) (n int, ok bool) {
	end := 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || end == 0 && s[end] == '-') {
		end++
	}
	n, err := strconv.Atoi(s[:end])
	return n, err == nil && (end == len(s) || s[end] == ' ' || s[end] == '(')
}

// w32Seconds reads "0.0033537s", of at most an age in which a clock is long lost.
func w32Seconds(s string) (d time.Duration, ok bool) {
	d, err := time.ParseDuration(strings.Replace(s, ",", ".", 1))
	const most = 10 * 365 * 24 * time.Hour
	return d, err == nil && strings.Count(s, "s") == 1 && strings.HasSuffix(s, "s") && !strings.ContainsAny(s, "nmuµ") && d.Abs() < most
}

const (
	// w32Local is the reference of a service that serves its own clock: it says
	// stratum 1 and no warning, and nothing disciplines it ("LOCL").
	w32Local = 0x4c4f434c
	// A clock that is not corrected is taken to drift by 500 ppm, and one that
	// may be off by 16 s to be lost: as by the kernel of Linux (MAXFREQ and
	// NTP_PHASE_LIMIT of linux/timex.h), so that the flag means the same on both.
	driftPPM   = 500
	phaseLimit = 16 * time.Second
)

// state is the flag and the bound of the error that long after s was read. The
// bound is the root distance of RFC 5905, section 11.2, at the last
// synchronisation, and the drift since.
func (s w32Status) state(later time.Duration) (flag evidence.TimeFlag, errorMS uint64) {
	age := s.age + later
	bound := s.rootDelay.Abs()/2 + s.dispersion.Abs() + s.offset.Abs() + age/1_000_000*driftPPM
	if s.leap < 0 || s.leap > 2 || s.stratum < 1 || s.stratum > 15 || s.reference == w32Local || s.machine < 1 ||
		age < 0 || bound >= phaseLimit {
		return evidence.Unsynchronised, 0
	}
	return evidence.Synchronised, uint64((bound + time.Millisecond - 1) / time.Millisecond)
}
