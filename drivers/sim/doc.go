// Package sim is a factory made of numbers: meters that answer Modbus, DL/T
// 645, CJ/T 188 and IEC 62056-21 read requests on a pseudo-terminal or a TCP
// port, as slowly as the wire would, with values that belong together. It serves the demo, the tests and the
// benchmarks; the agent cannot tell it from copper.
//
// What the meters measure comes from package plant; a value is cut to its
// register's resolution only when it is read.
//
// A serial line is Stations that hear whatever is sent, each through its own
// settings, and answer what is meant for them. Two that speak at once garble
// each other; a pseudo-terminal is asked how the far end has set it, so that
// who asks at a wrong speed hears nothing.
//
// Every meter can be told to misbehave (Fault, Rates), and things can be done
// to it (Act): it is exchanged, reset, frozen, opened. Reading says what it
// truly shows.
//
// Registers are laid out from the same drivers.Register list a driver decodes,
// by code that shares nothing with drivers/modbus; nor do the frames share
// anything with the other drivers. Sources: DL/T 645-2007 and 645-1997, CJ/T
// 188-2004, IEC 62056-21:2002.
package sim
