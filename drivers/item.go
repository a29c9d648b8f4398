package drivers

// Item is where a meter that names its data, rather than numbering registers,
// keeps one quantity: DL/T 645 and CJ/T 188 by data identifier, IEC 62056-21
// by OBIS code.
type Item struct {
	Quantity
	// ID is the name as the standard prints it, most significant digit first:
	// "02010100" (DL/T 645-2007), "B611" (DL/T 645-1997), "901F" (CJ/T 188),
	// "1.8.0" (IEC 62056-21).
	ID string
	// Part says which value of the answer to ID, from 0, where it holds
	// several (a DL/T 645 block, the fields of a CJ/T 188 reading).
	Part int
	// Format is the value's layout where it is not the standard's own for ID,
	// in the standard's notation: "XXXXXX.XX" is eight BCD digits, two of them
	// decimals; a leading "S" says the top bit is a sign. Empty: as the
	// standard has it.
	Format string
	// Min and Max are plausibility limits in units of 10^Exp, both inclusive;
	// Limited says they are set. A value outside is Suspect, never dropped.
	Min, Max int64
	Limited  bool
}
