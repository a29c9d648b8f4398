package modbus

import "github.com/tallystick/tallystick/drivers"

// Reordered is the same meter read with every value of several registers laid
// out in another word order. It finds out which order a meter uses whose
// values cannot be; the choice is a person's.
func (m *Meter) Reordered(order drivers.WordOrder) (*Meter, error) {
	cfg := m.cfg
	cfg.Registers = make([]drivers.Register, len(m.cfg.Registers))
	for i, r := range m.cfg.Registers {
		if r.Type.Words() > 1 {
			r.Order = order
		}
		cfg.Registers[i] = r
	}
	return New(cfg, m.wire.line)
}
