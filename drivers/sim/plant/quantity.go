package plant

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/drivers"
)

// Source says which physical value a quantity shows.
type Source struct {
	Kind  Kind
	Phase int
}

// Phase is what a phase shows of the kind, 1 to 3; 0 is the total.
func (k Kind) Phase(n int) Source { return Source{k, n} }

// simulated lists the quantities a meter can be asked for, by the names used
// in profiles, with the one unit each comes in. Those that have phases also
// exist as NAME_l1, NAME_l2 and NAME_l3.
var simulated = map[string]struct {
	kind   Kind
	unit   string
	phases bool
}{
	"voltage":         {Voltage, "V", true},
	"current":         {Current, "A", true},
	"power":           {Power, "W", true},
	"reactive_power":  {ReactivePower, "var", true},
	"apparent_power":  {ApparentPower, "VA", true},
	"power_factor":    {PowerFactor, "", true},
	"power_factor_4q": {PowerFactor4Q, "", true},
	"phase_angle":     {PhaseAngle, "deg", true},
	"frequency":       {Frequency, "Hz", false},
	"thd":             {Distortion, "%", true},
	"energy_import":   {EnergyImport, "kWh", true},
	"energy_export":   {EnergyExport, "kWh", true},
	"energy_sum":      {EnergySum, "kWh", true},
	"reactive_import": {ReactiveImport, "kvarh", true},
	"reactive_export": {ReactiveExport, "kvarh", true},
	"reactive_sum":    {ReactiveSum, "kvarh", true},
}

var lineVoltages = []string{"voltage_l1l2", "voltage_l2l3", "voltage_l3l1"}

// SourceOf finds what to show for a quantity.
func SourceOf(q drivers.Quantity) (Source, error) {
	s, unit, ok := SourceNamed(q.Name)
	if !ok {
		return Source{}, fmt.Errorf("quantity %s is not simulated", q.Name)
	}
	return s, unitIs(q, unit)
}

// SourceNamed is what is simulated by that name, and in which unit.
func SourceNamed(name string) (s Source, unit string, ok bool) {
	if i := slices.Index(lineVoltages, name); i >= 0 {
		return Source{LineVoltage, i + 1}, "V", true
	}
	for i, suffix := range []string{"_l1", "_l2", "_l3"} {
		if cut, ok := strings.CutSuffix(name, suffix); ok {
			name, s.Phase = cut, i+1
		}
	}
	q, ok := simulated[name]
	s.Kind = q.kind
	return s, q.unit, ok && (s.Phase == 0 || q.phases)
}

func unitIs(q drivers.Quantity, unit string) error {
	if q.Unit != unit {
		return fmt.Errorf("quantity %s in %q: simulated in %q", q.Name, q.Unit, unit)
	}
	return nil
}
