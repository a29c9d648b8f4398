package iec62056

import (
	"testing"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/drivertest"
)

// Foreign is silent: no reply carries an address, so another meter than the one
// asked must not speak, and could not be told if it did.
func TestSuite(t *testing.T) {
	b := newBus(t)
	drivertest.Run(t, drivertest.Suite{
		New: func(l drivers.Exchanger) (drivertest.Device, error) {
			return New(Config{Name: "e-1", Items: items()}, l)
		},
		Want:    []drivers.Reading{{Coef: 502853}, {Coef: 98697318}},
		Answer:  func(request []byte) []byte { return b.answer(string(request), 9600) },
		Foreign: func([]byte) []byte { return nil },
		Reads: func(q []byte) bool {
			d := Describe(q)
			return d.Valid && d.Direction == "request" && !d.Write && d.Control == ""
		},
	})
}
