package line

// Ports lists the serial ports of this machine without opening any, which would
// disturb a live bus: the names that survive replugging first.
func Ports() []string { return ports("/") }
