//go:build !race

package verify

// stride is the distance between the bytes the campaigns flip.
const stride = 1
