//go:build race

package verify

// stride under the race detector, which slows signatures down tenfold; a
// prime, so that repeated runs over streams reach every kind of byte.
const stride = 13
