package dlt645

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

// Search finds the addresses of the meters on a line, for commissioning. It
// asks with the wildcard address, which every meter answers; where several do
// at once and destroy each other's reply, it asks for the addresses that end in
// 00, 01 and so on, and so forth. found is called for each. timeout is for one
// reply; a line without such meters costs one. Zero settings are the line's own.
//
// Its error is a *drivers.Fault that says the line cannot be used.
func Search(ctx context.Context, v Version, line drivers.Exchanger, settings drivers.Settings, timeout time.Duration, found func(address string)) error {
	s := &search{version: v, line: line, settings: settings, timeout: timeout, found: found}
	return s.below(ctx, wildcard, 0)
}

type search struct {
	version  Version
	line     drivers.Exchanger
	settings drivers.Settings
	timeout  time.Duration
	found    func(string)
}

// below asks whoever matches pattern, whose first fixed bytes are set.
func (s *search) below(ctx context.Context, pattern address, fixed int) error {
	a, fault := s.ask(ctx, pattern)
	switch {
	case fault == nil:
		s.found(a.String())
		return nil
	case fault.Kind == drivers.Disconnected || fault.Kind == drivers.Skipped:
		return fault
	case fault.Kind != drivers.BadFrame || fixed == len(pattern):
		return nil // nobody, or two meters of one address
	}
	for n := range 100 {
		pattern[fixed] = byte(n/10<<4 | n%10)
		if err := s.below(ctx, pattern, fixed+1); err != nil {
			return err
		}
	}
	return nil
}

// ask reads the address of whoever matches pattern: in 2007 with the code for
// that where the pattern is open, otherwise as the sender of the energy
// register, which every meter has.
func (s *search) ask(ctx context.Context, pattern address) (address, *drivers.Fault) {
	what, id, code := data, uint32(0x9010), readData1997
	if s.version == V2007 {
		id, code = 0x00010000, readData2007
		if pattern == wildcard {
			what, code = ownAddress, readAddress2007
		}
	}
	out := slices.Repeat([]byte{wakeup}, DefaultWakeup)
	var got address
	foreign := false
	_, err := s.line.Exchange(ctx, drivers.Exchange{
		Request: appendRead(out, s.version, pattern, what, id, 0), Settings: s.settings, Timeout: s.timeout,
		Match: func(b []byte) (skip, size int) {
			return hunt(b, func(f frame) bool {
				a := f.address
				if what == ownAddress && len(f.data) == len(a) {
					for i, c := range f.data {
						a[i] = c - offset
					}
				}
				got = a
				// One meter of the other edition, all by itself, may refuse.
				foreign = f.refusal() || f.function() != code
				return f.reply() && a.decimal() && a.matches(pattern)
			})
		},
	})
	if err == nil && foreign {
		return got, &drivers.Fault{Kind: drivers.Refused, Err: errors.New("follows another edition of the standard")}
	}
	if err == nil {
		return got, nil
	}
	fault := &drivers.Fault{Kind: drivers.BadFrame, Err: err}
	if errors.As(err, &fault) {
		fault = &drivers.Fault{Kind: fault.Kind, Op: fmt.Sprintf("read address %v", pattern), Err: fault.Err}
	}
	return got, fault
}

// decimal reports whether a is an address one can ask.
func (a address) decimal() bool {
	for _, c := range a {
		if c>>4 > 9 || c&0xF > 9 {
			return false
		}
	}
	return true
}
