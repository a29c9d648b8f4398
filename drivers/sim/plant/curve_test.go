package plant

import (
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

const curveHead = "\ufeffdate,Usage_kWh,Lagging_Current_Reactive_Power_kVarh,Leading_Current_Reactive_Power_kVarh,CO2(tCO2),Lagging_Current_Power_Factor,Leading_Current_Power_Factor\r\n"

func TestReadCurve(t *testing.T) {
	l, err := ReadCurve("c.csv", strings.NewReader(curveHead+
		"31/01/2018 23:30,3.17,2.95,0,0,73.21,100\r\n"+
		"31/01/2018 23:45,4,4.46,0.5,0,66.77,100\r\n"+
		"31/01/2018 00:00,0.000001,0,0,0,0,0\r\n"+
		"01/02/2018 00:15,100.5,1,2,0,1,2\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2018, 1, 31, 23, 15, 0, 0, time.UTC); !l.start.Equal(want) {
		t.Errorf("starts %s, want %s: a row is dated by its interval's end", l.start, want)
	}
	if got := l.Total().String(); got != "107.670001" {
		t.Errorf("total %s, want 107.670001", got)
	}
	if l.Length() != time.Hour {
		t.Errorf("length %s, want 1h", l.Length())
	}
	p, q := l.power(15 * time.Minute)
	if p != 16e9 || q != int64((4.46-0.5)*4e9) {
		t.Errorf("power in the second row: %d uW, %d uvar", p, q)
	}
	feb, err := l.Between(time.Date(2018, 2, 1, 0, 0, 0, 0, time.UTC), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if got := feb.Total().String(); got != "100.500000" {
		t.Errorf("February holds %s kWh, want 100.500000: 00:00 closes the day before", got)
	}
}

func TestReadCurveErrors(t *testing.T) {
	const row = "31/01/2018 23:30,3.17,2.95,0,0,73.21,100\n"
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "c.csv: the file is empty"},
		{"header only", curveHead, "c.csv: no rows after the header"},
		{"no column", "date,kWh\n", `c.csv:1: no column "Usage_kWh": a load curve needs date, Usage_kWh, Lagging_Current_Reactive_Power_kVarh and Leading_Current_Reactive_Power_kVarh`},
		{"date", curveHead + "2018-01-31 23:30,1,1,1,0,1,1\n", `c.csv:2:1: date: "2018-01-31 23:30" is not a date like 31/12/2018 23:45`},
		{"month", curveHead + "31/13/2018 23:30,1,1,1,0,1,1\n", `c.csv:2:1: date: "31/13/2018 23:30" is not a date like 31/12/2018 23:45`},
		{"energy", curveHead + row + "31/01/2018 23:45,x,2.95,0,0,73.21,100\n", `c.csv:3:18: Usage_kWh: "x" is not an energy from 0 to 1000000 with at most 6 decimals`},
		{"negative", curveHead + "31/01/2018 23:45,-1,0,0,0,0,0\n", `c.csv:2:18: Usage_kWh: "-1" is not an energy from 0 to 1000000 with at most 6 decimals`},
		{"exponent", curveHead + "31/01/2018 23:45,1e3,0,0,0,0,0\n", `c.csv:2:18: Usage_kWh: "1e3" is not an energy from 0 to 1000000 with at most 6 decimals`},
		{"too fine", curveHead + "31/01/2018 23:45,1.0000001,0,0,0,0,0\n", `c.csv:2:18: Usage_kWh: "1.0000001" is not an energy from 0 to 1000000 with at most 6 decimals`},
		{"too much", curveHead + "31/01/2018 23:45,1000000.1,0,0,0,0,0\n", `c.csv:2:18: Usage_kWh: "1000000.1" is not an energy from 0 to 1000000 with at most 6 decimals`},
		{"reactive", curveHead + "31/01/2018 23:45,1,0,NaN,0,0,0\n", `c.csv:2:22: Leading_Current_Reactive_Power_kVarh: "NaN" is not an energy from 0 to 1000000 with at most 6 decimals`},
		{"power factor", curveHead + "31/01/2018 23:45,1,0,0,0,100.01,0\n", `c.csv:2:26: Lagging_Current_Power_Factor: "100.01" is not a power factor from 0 to 100 percent`},
		{"hole", curveHead + row + "31/01/2018 00:00,1,0,0,0,0,0\n", `c.csv:3:1: date: the interval ends at 2018-02-01 00:00, expected 2018-01-31 23:45, 15 minutes after the row before`},
		{"twice", curveHead + row + row, `c.csv:3:1: date: the interval ends at 2018-01-31 23:30, expected 2018-01-31 23:45, 15 minutes after the row before`},
		{"short row", curveHead + "31/01/2018 23:30,3.17\n", "c.csv:2:1: wrong number of fields"},
		{"quote", curveHead + "\"31/01\n", `c.csv:2:8: extraneous or missing " in quoted-field`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadCurve("c.csv", strings.NewReader(c.text))
			if err == nil || err.Error() != c.want {
				t.Errorf("error %v\nwant  %s", err, c.want)
			}
		})
	}
}

// steelCurve is the steel plant's year; tests that need it skip without it.
func steelCurve(t *testing.T) *Load {
	const path = "../../../../shared/data/Steel_industry_data.csv"
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		t.Skipf("no load curve at %s: get \"Steel Industry Energy Consumption\" from UCI to run this test", path)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := ReadCurve("Steel_industry_data.csv", f)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestSteelCurve(t *testing.T) {
	l := steelCurve(t)
	if got := l.Total().String(); got != "959636.710000" || l.Length() != 365*24*time.Hour {
		t.Errorf("the year: %s kWh in %s, want 959636.710000 in 8760h", got, l.Length())
	}
	feb, err := l.Between(time.Date(2018, 2, 1, 0, 0, 0, 0, time.UTC), time.Date(2018, 3, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if got := feb.Total().String(); got != "91497.340000" || feb.Length() != 28*24*time.Hour {
		t.Errorf("February: %s kWh in %s, want 91497.340000 in 672h", got, feb.Length())
	}
	// The file's own power factor (73.21 % in the first row) is what P and Q give.
	p, q := l.power(0)
	if pf := float64(p) / math.Hypot(float64(p), float64(q)); math.Abs(pf-0.7321) > 0.00005 {
		t.Errorf("power factor of the first row %.5f, want 0.7321", pf)
	}
}

// The counter after the whole February is the one before plus the sum of the
// rows.
func TestSteelFebruaryOnTheCounter(t *testing.T) {
	feb, err := steelCurve(t).Between(time.Date(2018, 2, 1, 0, 0, 0, 0, time.UTC), time.Date(2018, 3, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	in, err := NewInstallation(1, feb, 1000, 1, &drivers.Decimal{Coef: 37_654_32, Exp: -2})
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[time.Duration]int64{0: 37654_320000, feb.Length(): 129151_660000} {
		var v Values
		if in.Counters(at, &v); v[EnergyImport][0] != want {
			t.Errorf("after %v: %d, want %d", at, v[EnergyImport][0], want)
		}
	}
	if got := in.Drawn(feb.Length()).String(); got != "91497.340000" {
		t.Errorf("drawn %s", got)
	}
}

func FuzzReadCurve(f *testing.F) {
	f.Add([]byte(curveHead + "31/01/2018 23:30,3.17,2.95,0,0,73.21,100\r\n"))
	f.Add([]byte("date,Usage_kWh\n\"\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ReadCurve("c.csv", strings.NewReader(string(b)))
		if (l == nil) == (err == nil) {
			t.Fatal("either a load or an error")
		}
		if err == nil && l.energy(l.Length()) != l.sum[len(l.sum)-1] {
			t.Fatal("the end is not the sum of the rows")
		}
	})
}
