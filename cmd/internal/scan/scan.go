// Package scan finds out what hangs on a line: it tries the usual settings,
// unit numbers and wildcard addresses, likely ones first, and proposes a device
// profile for whatever answers. It sends nothing but read requests, one at a
// time, and must have the line to itself.
package scan

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/profile"
)

// Config is one search of one line.
type Config struct {
	Line     drivers.Exchanger
	Serial   bool               // the line is a port whose settings can be changed, not a TCP connection
	Settings []drivers.Settings // to try Modbus with on a port, likely ones first; see Usual
	Named    []drivers.Settings // likewise DL/T 645 and CJ/T 188; see UsualNamed
	First    int                // unit numbers to try, both included
	Last     int
	Library  *profile.Library
	Found    func(Hit)      // called once for each device, when it is found
	Progress func(Progress) // called before each question
}

// Hit is a device that answered.
type Hit struct {
	Protocol string           // as in a site file: "modbus-rtu", "dlt645-2007", ...
	Address  string           // as in a site file
	Settings drivers.Settings // zero on TCP
	// Profiles that fit, best first; none when no profile does.
	Profiles []string
	// Certain says that at least two checks that do not depend on each other
	// speak for Profiles[0] and none for another.
	Certain bool
	Why     string // what spoke for it, in words
}

// Progress says how far a search is.
type Progress struct {
	Done, Total int
	Settings    drivers.Settings
	What        string // "unit 12", "DL/T 645", "CJ/T 188"
	Left        time.Duration
}

// Usual are the settings of nearly every Modbus meter, likely ones first.
func Usual() []drivers.Settings {
	return parsed("9600 8N1", "9600 8E1", "19200 8E1", "19200 8N1", "4800 8N1", "2400 8N1", "4800 8E1", "2400 8E1")
}

// UsualNamed are those of nearly every DL/T 645 and CJ/T 188 meter: both
// standards ask for even parity, and leave the speed to the meter.
func UsualNamed() []drivers.Settings { return parsed("2400 8E1", "9600 8E1", "4800 8E1", "1200 8E1") }

func parsed(list ...string) (all []drivers.Settings) {
	for _, s := range list {
		p, err := drivers.ParseSettings(s)
		if err != nil {
			panic(err) // the lists above
		}
		all = append(all, p)
	}
	return all
}

// early is how many unit numbers are tried at the likeliest settings before
// anything else: most meters have one of them.
const early = 8

// step is one thing to try.
type step struct {
	settings drivers.Settings
	what     string
	try      func(context.Context, drivers.Settings) ([]Hit, error)
}

// Run searches until everything was tried or ctx ends, and returns what was
// found, in the order of the finding. An error means that the line cannot be
// used.
func Run(ctx context.Context, cfg Config) ([]Hit, error) {
	s := &search{Config: cfg}
	steps := s.steps()
	begun := time.Now()
	for i, st := range steps {
		if ctx.Err() != nil {
			break
		}
		if cfg.Progress != nil {
			left := time.Duration(0)
			if i > 0 {
				left = time.Since(begun) / time.Duration(i) * time.Duration(len(steps)-i)
			}
			cfg.Progress(Progress{Done: i, Total: len(steps), Settings: st.settings, What: st.what, Left: left})
		}
		found, err := st.try(ctx, st.settings)
		var fault *drivers.Fault
		if errors.As(err, &fault) && fault.Kind == drivers.Disconnected {
			return s.hits, err
		}
		for _, h := range found {
			if s.known(h.Protocol, h.Address) {
				continue
			}
			s.hits = append(s.hits, h)
			if cfg.Found != nil {
				cfg.Found(h)
			}
		}
	}
	return s.hits, nil
}

// search is a run in progress.
type search struct {
	Config
	hits []Hit
}

// known reports whether a device was found already: some answer at more than
// one setting.
func (s *search) known(protocol, address string) bool {
	return slices.ContainsFunc(s.hits, func(h Hit) bool { return h.Protocol == protocol && h.Address == address })
}

// steps lists what to try, in order.
func (s *search) steps() (list []step) {
	if !s.Serial {
		return append(s.units(drivers.Settings{}, s.First, s.Last), s.wildcards(drivers.Settings{})...)
	}
	soon := min(s.Last, s.First+early-1)
	for i, at := range s.Settings {
		if i > 0 {
			list = append(list, s.units(at, s.First, s.Last)...)
			continue
		}
		list = append(list, s.units(at, s.First, soon)...)
		for _, at := range s.Named {
			list = append(list, s.wildcards(at)...)
		}
		list = append(list, s.units(at, soon+1, s.Last)...)
	}
	return list
}
