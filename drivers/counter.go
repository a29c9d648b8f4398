package drivers

// ThroughEnd is how far a counter moved that went from was through its end to v.
// modulus is where it begins anew, 0 where that is not known. ok says that it did
// so: it was in the last hundredth of its range and came no further than another.
func ThroughEnd(was, v, modulus int64) (step int64, ok bool) {
	if modulus <= 0 || v < 0 || was >= modulus || was < modulus-modulus/100 {
		return 0, false
	}
	step = modulus - was + v
	return step, step >= 0 && step <= modulus/100
}
