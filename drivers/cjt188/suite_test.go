package cjt188

import (
	"fmt"
	"testing"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/drivertest"
)

func TestSuite(t *testing.T) {
	own, other := newBus(t), newBus(t)
	other.address[0]++
	// answer is what b says to a request to own.
	answer := func(b *bus, payload string) func([]byte) []byte {
		return func(request []byte) []byte {
			_, size := hunt(request, func(f frame) bool { return f.address == own.address })
			if size == 0 {
				return nil
			}
			f := parse(request[len(request)-size:])
			return b.frame(f.control|fromMeter, fmt.Sprintf("%02X %02X %02X %s", f.data[0], f.data[1], f.data[2], payload))
		}
	}
	drivertest.Run(t, drivertest.Suite{
		New: func(l drivers.Exchanger) (drivertest.Device, error) {
			return New(Config{Name: "water-1", Address: printed, Type: 0x10, Items: []drivers.Item{
				item("volume", "m3", -2, "901F", 0), item("volume_settlement", "m3", -2, "901F", 1),
			}}, l)
		},
		Want:    []drivers.Reading{{Coef: 55667700}, {Coef: 55341200}},
		Answer:  answer(own, water),
		Foreign: answer(other, "11 11 11 11 2C 22 22 22 22 2C 31 01 22 11 05 15 20 21 84"),
		Reads: func(q []byte) bool {
			d := Describe(q)
			return d.Valid && d.Direction == "request" && !d.Write && (d.Control == "01" || d.Control == "03")
		},
	})
}
