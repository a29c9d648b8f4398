// Package replay reads a meter once more from what it said: it puts recorded
// requests and replies behind the drivers, where they expect a line, and so
// turns the meter's own bytes back into readings, by the profile and with the
// code that read it then.
//
// Nothing is known of the meter but its profile: how it is called and how its
// frames are wrapped stands in the requests. Every function is total on any
// recorded bytes, in memory and time bounded by their length.
package replay

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/cjt188"
	"github.com/tallystick/tallystick/drivers/dlt645"
	"github.com/tallystick/tallystick/drivers/iec62056"
	"github.com/tallystick/tallystick/drivers/modbus"
	"github.com/tallystick/tallystick/drivers/profile"
)

// Exchange is one request and every byte that came back.
type Exchange struct{ Request, Reply []byte }

// Value is what a meter said a quantity is.
type Value struct {
	drivers.Quantity
	Coef int64
}

// Poll returns the values in the exchanges of one poll of a meter of profile p,
// by the name of their quantity. What the exchanges do not hold is left out.
func Poll(p *profile.Profile, exchanges []Exchange) map[string]Value {
	values := map[string]Value{}
	if p.Protocol == profile.Modbus {
		for i := range exchanges {
			registers(values, p, &exchanges[i])
		}
		return values
	}
	items := p.AllItems()
	device, err := named(p, items, exchanges)
	if err != nil {
		return values // requests as none of this profile's makes them
	}
	quantities := make([]drivers.Quantity, len(items))
	for i := range items {
		quantities[i] = items[i].Quantity
	}
	read(values, device, quantities)
	return values
}

type device interface {
	Read(ctx context.Context, dst []drivers.Reading) error
}

// read takes the values out of d. It has no time: drivers that would pause
// before they ask again do not.
func read(values map[string]Value, d device, quantities []drivers.Quantity) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dst := make([]drivers.Reading, len(quantities))
	_ = d.Read(ctx, dst) // what it says stands in the readings, one by one
	for i, r := range dst {
		if r.Quality.HasValue() {
			values[quantities[i].Name] = Value{quantities[i], r.Coef}
		}
	}
}

// registers takes the values out of one Modbus exchange. Which registers a
// request spans depends on what the meter was once found not to have; so it is
// planned anew for the stretch that was asked, over all registers of the
// profile, and must then come out the same. Later exchanges of a poll count
// more: they are the second try, or what followed a probe.
func registers(values map[string]Value, p *profile.Profile, x *Exchange) {
	framing, unit, asked, ok := modbusRequest(x.Request)
	if !ok {
		return
	}
	var inside []drivers.Register
	var quantities []drivers.Quantity
	for _, r := range p.All() {
		if r.Table == asked.Table && r.Address >= asked.Address && int(r.Address)+r.Type.Words()-1 <= int(asked.Last) {
			inside, quantities = append(inside, r), append(quantities, r.Quantity)
		}
	}
	if len(inside) == 0 {
		return
	}
	line := &player{exchanges: []Exchange{*x}, same: bytes.Equal, reply: found, none: errNotRecorded}
	if framing == modbus.TCP {
		line.same, line.reply = sameButTransaction, transaction
	}
	meter, err := modbus.New(modbus.Config{Name: p.ID, Unit: unit, Framing: framing, Registers: inside, Ranges: []drivers.Range{asked}}, line)
	if err != nil {
		return
	}
	read(values, meter, quantities)
}

// modbusRequest takes a read request apart. It need not be a sound one: what is
// replayed is compared with it byte for byte.
func modbusRequest(b []byte) (f modbus.Framing, unit uint8, asked drivers.Range, ok bool) {
	switch {
	case len(b) == 8:
	case len(b) == 12:
		f, b = modbus.TCP, b[6:]
	case len(b) == 17 && b[0] == ':':
		var plain [6]byte
		if _, err := hex.Decode(plain[:], b[1:13]); err != nil {
			return f, 0, asked, false
		}
		f, b = modbus.ASCII, plain[:]
	default:
		return f, 0, asked, false
	}
	switch b[1] {
	case 1:
		asked.Table = drivers.Coil
	case 2:
		asked.Table = drivers.DiscreteInput
	case 3:
		asked.Table = drivers.HoldingRegister
	case 4:
		asked.Table = drivers.InputRegister
	default:
		return f, 0, asked, false
	}
	asked.Address = uint16(b[2])<<8 | uint16(b[3])
	last := int(asked.Address) + int(b[4])<<8 + int(b[5]) - 1
	asked.Last = uint16(last)
	return f, b[0], asked, last >= int(asked.Address) && last < 1<<16
}

// named is a meter of a protocol that names its data, which says what was
// recorded and has nothing else.
func named(p *profile.Profile, items []drivers.Item, exchanges []Exchange) (device, error) {
	line := &player{exchanges: exchanges, same: bytes.Equal, reply: found, none: errNotRecorded}
	switch p.Protocol {
	case "dlt645-2007", "dlt645-1997":
		v := dlt645.V2007
		if p.Protocol == "dlt645-1997" {
			v = dlt645.V1997
		}
		line.same, line.none = sameAwake, noSuchData
		address := addressed(exchanges, func(b []byte) drivers.Description { return dlt645.Describe(v, b) })
		return dlt645.New(dlt645.Config{Name: p.ID, Address: address, Version: v, Items: items, Blocks: p.Blocks, Wakeup: p.Wakeup}, line)
	case "cjt188":
		line.same, line.reply = sameButSerial, serial
		return cjt188.New(cjt188.Config{Name: p.ID, Address: addressed(exchanges, cjt188.Describe), Type: p.MeterType, Items: items, Wakeup: p.Wakeup}, line)
	case "iec62056-21":
		line.same = sameButSpeed
		address, parity := signOn(exchanges)
		return iec62056.New(iec62056.Config{Name: p.ID, Address: address, Items: items, Emulate: parity}, line)
	}
	return nil, fmt.Errorf("profile %s: no driver for %s", p.ID, p.Protocol)
}

// addressed is whom the first request is for.
func addressed(exchanges []Exchange, describe func([]byte) drivers.Description) string {
	for i := range exchanges {
		if d := describe(exchanges[i].Request); d.Valid && d.Direction == "request" {
			return d.Address
		}
	}
	return ""
}

// signOn finds whom an IEC 62056-21 request is for, and whether its characters
// bring their own parity bit.
func signOn(exchanges []Exchange) (address string, parity bool) {
	for i := range exchanges {
		text := bytes.Clone(exchanges[i].Request)
		for j, c := range text {
			text[j] = c & 0x7F
		}
		if rest, ok := bytes.CutPrefix(text, []byte("/?")); ok {
			name, _, _ := bytes.Cut(rest, []byte("!"))
			return string(name), !bytes.Equal(text, exchanges[i].Request)
		}
	}
	return "", false
}

var errNotRecorded = errors.New("not recorded")

// noSuchData is how a DL/T 645 meter says so: asked for a block in vain, the
// driver then asks for its pieces.
const noSuchData = dlt645.Refused(0x02)

// player is the line: it answers with what was recorded, each exchange once and
// in order. Those that brought no reply are passed over.
type player struct {
	exchanges []Exchange
	used      []bool // by exchange: was answered with
	same      func(asked, recorded []byte) bool
	reply     func(x *drivers.Exchange, r *Exchange) []byte // nil: there is none to x in r
	none      error                                         // says that nothing was recorded
}

// Exchange implements drivers.Exchanger. Its error is a refusal.
func (p *player) Exchange(_ context.Context, x drivers.Exchange) ([]byte, error) {
	if p.used == nil {
		p.used = make([]bool, len(p.exchanges))
	}
	for i := range p.exchanges {
		r := &p.exchanges[i]
		if p.used[i] || !p.same(x.Request, r.Request) {
			continue
		}
		if reply := p.reply(&x, r); reply != nil {
			p.used[i] = true
			return reply, nil
		}
	}
	return nil, &drivers.Fault{Kind: drivers.Refused, Err: p.none}
}

// found looks for the reply as a line does.
func found(x *drivers.Exchange, r *Exchange) []byte { return match(x, r.Reply) }

func match(x *drivers.Exchange, b []byte) []byte {
	for len(b) > 0 {
		skip, size := x.Match(b)
		if size > 0 && skip+size <= len(b) {
			return b[skip : skip+size]
		}
		if skip <= 0 || skip > len(b) {
			return nil
		}
		b = b[skip:]
	}
	return nil
}
