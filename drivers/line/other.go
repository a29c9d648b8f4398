//go:build !linux && !windows

package line

import (
	"errors"
	"time"
)

// Gateways run Linux or Windows. Elsewhere, where people write the code, lines
// are TCP connections and demo and tests run.

func openPort(s Serial, _ func(error)) (port, error) {
	return nil, &OpenError{Path: s.Path, Err: errors.New("serial ports are read on Linux and Windows only")}
}

// Ports is empty: no serial port can be read here.
func Ports() []string { return nil }

// Holder is "": no serial port can be read here.
func Holder(string) string { return "" }

func findHolder(string) string { return "" }

const clockTick = 0

func pause(d time.Duration) { time.Sleep(d) }

func limitUnacknowledged(uintptr, time.Duration) {}
