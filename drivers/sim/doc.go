// Package sim is a factory made of numbers: meters that answer Modbus read
// requests on a pseudo-terminal or a TCP port, as slowly as the wire would,
// with values that belong together. It serves the demo, the tests and the
// benchmarks; the agent cannot tell it from copper.
//
// A Load says how much energy has been drawn by any moment, in integers. A
// Clock maps real time to simulated time, at a chosen speed. A Meter derives
// everything else from the two: the phases' powers sum to the total,
// P = U x I x PF in each phase, and the energy register is the exact integral
// of P, cut to the register's resolution only when it is read.
//
// Inside the package every physical value is an int64 in millionths of its
// unit (uV, uA, uW, 10^-6 kWh), so 630 kW and a year's energy both fit.
//
// Registers are laid out from the same drivers.Register list a driver decodes,
// by code that shares nothing with drivers/modbus.
package sim
