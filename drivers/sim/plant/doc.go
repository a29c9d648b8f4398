// Package plant is what a simulated factory draws and what its meters' terminals
// would show: loads, the clock that moves through them, and the values that
// follow from the two.
//
// A Load says how much energy has been drawn by any moment, in integers. A
// Clock maps real time to simulated time, at a chosen speed. An Installation
// derives everything else from the two: the phases' powers sum to the total,
// P = U x I x PF in each phase, and the counters are the exact integral of P.
//
// Every physical value is an int64 in millionths of its unit (uV, uA, uW, 10^-6
// kWh), so 630 kW and a year's energy both fit.
package plant
