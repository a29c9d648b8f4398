// Package sim is a factory made of numbers: lines with meters (package meter)
// that answer read requests on a pseudo-terminal or a TCP port, as slowly as
// the wire would, with values that belong together (package plant). It serves
// the demo, the tests and the benchmarks; the agent cannot tell it from copper.
//
// A serial line is Stations that hear whatever is sent, each through its own
// settings, and answer what is meant for them. Two that speak at once garble
// each other; a pseudo-terminal is asked how the far end has set it, so that
// who asks at a wrong speed hears nothing.
package sim
