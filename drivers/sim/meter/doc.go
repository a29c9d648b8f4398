// Package meter is simulated meters, up to the bytes they answer with: Modbus
// ones that show registers, and Named ones that name their data (DL/T 645, CJ/T
// 188, IEC 62056-21). What they measure is package plant's.
//
// Every meter can be told to misbehave (Fault, Rates), and things can be done
// to it (Act): it is exchanged, reset, frozen, opened. Reading says what it
// truly shows. A value is cut to its register's resolution only when it is
// read.
//
// Registers are laid out from the same drivers.Register list a driver decodes,
// by code that shares nothing with drivers/modbus; nor do the frames share
// anything with the other drivers. Sources: DL/T 645-2007 and 645-1997, CJ/T
// 188-2004, IEC 62056-21:2002.
package meter
