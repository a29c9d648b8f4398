package cjt188

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

// Search finds types and addresses of the meters on a line, for commissioning.
// It asks with the wildcard address, which every meter answers, with the
// identifier's bytes in both orders, because each meter understands but one;
// where several answer at once and destroy each other's reply, it asks for the
// addresses that end in 00, 01 and so on, and so forth. found is called once
// for each. timeout is for one reply; a line without such meters costs four.
// Zero settings are the line's own.
//
// Its error is a *drivers.Fault that says the line cannot be used.
func Search(ctx context.Context, line drivers.Exchanger, settings drivers.Settings, timeout time.Duration, found func(meter byte, address string)) error {
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	s := &search{line: line, settings: settings, timeout: timeout, found: found, known: map[address]bool{}}
	for _, q := range []question{
		{readData, current, false}, {readData, current, true},
		{readAddress, 0x810A, false}, {readAddress, 0x810A, true},
	} {
		if q.code == readAddress && len(s.known) > 0 {
			break // for meters that do not answer the wildcard otherwise
		}
		if err := s.below(ctx, q, wildcard, 0); err != nil {
			return err
		}
	}
	return nil
}

type question struct {
	code control
	di   uint16
	swap bool
}

type search struct {
	line     drivers.Exchanger
	settings drivers.Settings
	timeout  time.Duration
	found    func(byte, string)
	known    map[address]bool
	ser      byte
}

// below asks whoever matches pattern, whose first fixed bytes are set.
func (s *search) below(ctx context.Context, q question, pattern address, fixed int) error {
	f, fault := s.ask(ctx, q, pattern)
	switch {
	case fault == nil:
		if !s.known[f.address] {
			s.known[f.address] = true
			s.found(f.meter, f.address.String())
		}
		return nil
	case fault.Kind == drivers.Disconnected || fault.Kind == drivers.Skipped:
		return fault
	case fault.Kind != drivers.BadFrame || fixed == len(pattern):
		return nil // nobody, or two meters of one address
	}
	for n := range 100 {
		pattern[fixed] = byte(n/10<<4 | n%10)
		if err := s.below(ctx, q, pattern, fixed+1); err != nil {
			return err
		}
	}
	return nil
}

func (s *search) ask(ctx context.Context, q question, pattern address) (f frame, _ *drivers.Fault) {
	s.ser++
	request, err := appendRequest(slices.Repeat([]byte{wakeup}, DefaultWakeup), anyMeter, pattern, q.code, q.di, q.swap, s.ser)
	if err != nil {
		return f, &drivers.Fault{Kind: drivers.Skipped, Err: err}
	}
	_, err = s.line.Exchange(ctx, drivers.Exchange{
		Request: request, Settings: s.settings, Timeout: s.timeout,
		Match: func(b []byte) (skip, size int) {
			return hunt(b, func(g frame) bool {
				f = g
				di, ok := g.di()
				answers := g.function() == q.code && ok && di == q.di
				return g.reply() && (answers || g.refusal()) && decimal(g.address[:]) && g.address.matches(pattern)
			})
		},
	})
	if err == nil && f.refusal() {
		return f, &drivers.Fault{Kind: drivers.Refused, Err: errors.New("does not have what was asked for")}
	}
	if err == nil {
		return f, nil
	}
	fault := &drivers.Fault{Kind: drivers.BadFrame, Err: err}
	if errors.As(err, &fault) {
		fault = &drivers.Fault{Kind: fault.Kind, Op: fmt.Sprintf("%v %04X of any meter", q.code, q.di), Err: fault.Err}
	}
	return f, fault
}

// matches reports whether a meter of address a answers to pattern.
func (a address) matches(pattern address) bool {
	for i := range a {
		if pattern[i] != anyMeter && pattern[i] != a[i] {
			return false
		}
	}
	return true
}
