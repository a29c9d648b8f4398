package drivers

// Description is what one frame says, for people and for tests. Every codec
// has a Describe function that is total on any input: it never panics, and an
// invalid frame is a Description with a Reason.
type Description struct {
	Protocol  string // "modbus-rtu", "dlt645-2007", ...
	Valid     bool
	Reason    string // why it is not valid: "checksum 55, computed 54"
	Direction string // "request" or "response"
	// Address as it is printed on the meter, lower-case; digits 'a' are
	// wildcards. For Modbus the unit number in decimal.
	Address string
	Control string // control or function code, upper-case hex; "" where the protocol has none
	// DataID is the data identifier in upper-case hex as the standard prints
	// it; for Modbus the start address where the frame carries one.
	DataID      string
	Write       bool // the control code would change something in the meter
	MoreFollows bool // a further frame holds the rest
	Error       *Refusal
	Values      []DescribedValue
	Text        string // one line for people
	Wakeup      int    // FE (or NUL) wake-up bytes before the frame
	Skipped     int    // other bytes before the frame
	Behind      int    // bytes behind it, not looked at
}

// Refusal is a meter's word that it will not or cannot answer.
type Refusal struct{ Code, Text string }

// DescribedValue is one value in a frame. Value is an exact decimal, a time as
// RFC 3339 without zone, or text.
type DescribedValue struct{ Quantity, Value, Unit string }
