package drivers

// Table is one of the four Modbus data tables (Modbus Application Protocol
// V1.1b3, section 4.3).
type Table uint8

const (
	HoldingRegister Table = iota // function code 3
	InputRegister                // function code 4
	Coil                         // function code 1
	DiscreteInput                // function code 2
)

// String is the plural used in messages: "holding registers".
func (t Table) String() string {
	return [...]string{"holding registers", "input registers", "coils", "discrete inputs"}[t&3]
}

// Bits reports whether the table holds single bits.
func (t Table) Bits() bool { return t == Coil || t == DiscreteInput }

// Type is how a register's bits are to be read.
type Type uint8

const (
	Uint16 Type = iota
	Int16
	Uint32
	Int32
	Uint64
	Int64
	Float32
	Bit // one coil or discrete input
	Float64
	BCD16 // four decimal digits
	BCD32 // eight decimal digits
)

// Words is the number of 16-bit registers (or single bits) the type occupies.
func (t Type) Words() int {
	switch t {
	case Uint32, Int32, Float32, BCD32:
		return 2
	case Uint64, Int64, Float64:
		return 4
	}
	return 1
}

// WordOrder names the four ways a value of several registers is laid out, by
// the letters used in meter manuals: A is the most significant byte.
type WordOrder uint8

const (
	ABCD WordOrder = iota // big-endian, most significant word first
	CDAB                  // least significant word first
	BADC                  // bytes swapped within words
	DCBA                  // little-endian
)

// Register is where a meter that speaks Modbus keeps one quantity.
type Register struct {
	Quantity
	Table   Table
	Address uint16 // as on the wire, 0-based
	Type    Type
	Order   WordOrder
	// Scale: raw x 10^Scale is the value in Unit. The reading's own exponent
	// is Quantity.Exp; integers need Scale == Exp, floats are rounded to Exp.
	Scale int8
	// Mask says which bits of a Uint16 the value is made of, shifted down to
	// the lowest of them: the running bit of a status word. 0 means all.
	Mask uint16
	// Invalid lists raw register patterns, right-aligned, that mean "no
	// value" (0xFFFF, 0x80000000, ...).
	Invalid []uint64
	// Min and Max are plausibility limits in units of 10^Exp, both inclusive;
	// Limited says they are set. A value outside is Suspect, never dropped.
	Min, Max int64
	Limited  bool
}

// Range is a stretch of one table a meter is known to answer in one request:
// Address up to and including Last.
type Range struct {
	Table   Table
	Address uint16
	Last    uint16
}
