package record

import (
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// Answer is the content of an answer record (RECORDS.md): what a box read for a
// challenge.
type Answer struct {
	Nonce [16]byte         // of the challenge
	Reads []RegisterAnswer // one for each of its reads, in its order
}

// RegisterAnswer is what came of one read.
type RegisterAnswer struct {
	evidence.RegisterRead
	At   int64 // Unix ms by the box's clock
	Code evidence.Code
	Data []byte // as on the wire: two bytes a register, big-endian, or packed bits; empty unless Code is OK
}

// Registers are the numbers in Data, nil for coils and discrete inputs.
func (a *RegisterAnswer) Registers() []uint16 {
	if a.Table != evidence.HoldingRegisters && a.Table != evidence.InputRegisters {
		return nil
	}
	rs := make([]uint16, len(a.Data)/2)
	for i := range rs {
		rs[i] = uint16(a.Data[2*i])<<8 | uint16(a.Data[2*i+1])
	}
	return rs
}

// wireRegisterAnswer is RegisterAnswer as the flat array it is sent as.
type wireRegisterAnswer struct {
	_       struct{} `cbor:",toarray"`
	Meter   string
	Table   evidence.RegisterTable
	Address uint64
	Count   uint64
	At      int64
	Code    evidence.Code
	Data    []byte
}

type wireAnswer struct {
	Nonce [16]byte             `cbor:"1,keyasint"`
	Reads []wireRegisterAnswer `cbor:"2,keyasint"`
}

// Content is what Encode takes.
func (a *Answer) Content() any {
	w := wireAnswer{Nonce: a.Nonce, Reads: make([]wireRegisterAnswer, len(a.Reads))}
	for i, g := range a.Reads {
		w.Reads[i] = wireRegisterAnswer{Meter: g.Meter, Table: g.Table, Address: g.Address, Count: g.Count, At: g.At, Code: g.Code, Data: g.Data}
	}
	return w
}

// Answer reads the content of an answer record.
func (r *Record) Answer() (Answer, error) {
	const where = "answer"
	var w wireAnswer
	if err := r.Decode(&w); err != nil {
		return Answer{}, err
	}
	if len(w.Reads) == 0 || len(w.Reads) > evidence.MaxReads {
		return Answer{}, canon.Malformed(where, "%d reads, want 1 to %d", len(w.Reads), evidence.MaxReads)
	}
	a := Answer{Nonce: w.Nonce}
	for _, e := range w.Reads {
		g := RegisterAnswer{RegisterRead: evidence.RegisterRead{Meter: e.Meter, Table: e.Table, Address: e.Address, Count: e.Count}, At: e.At, Code: e.Code, Data: e.Data}
		if err := g.validate(); err != nil {
			return Answer{}, err
		}
		a.Reads = append(a.Reads, g)
	}
	return a, nil
}

// validate refuses data that are not as long as what was asked for.
func (a *RegisterAnswer) validate() error {
	const where = "answer"
	if err := a.RegisterRead.Validate(); err != nil {
		return err
	}
	want := 2 * a.Count
	if a.Table == evidence.Coils || a.Table == evidence.DiscreteInputs {
		want = (a.Count + 7) / 8
	}
	if a.Code != evidence.OK {
		want = 0
	}
	if a.At < 0 || !a.Code.Known() || uint64(len(a.Data)) != want {
		return canon.Malformed(where, "code %d with %d bytes for %d of table %d, want %d", a.Code, len(a.Data), a.Count, a.Table, want)
	}
	return nil
}
