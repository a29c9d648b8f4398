package iec62056

import (
	"strings"
	"testing"
)

// zmd is the readout of a Landis & Gyr ZMD310 and its block check, from the
// tests of a Python reader (sample_landis_gyr_data_message_frame). Billing
// periods that have not been yet are written out by times.
func zmd() string {
	var s strings.Builder
	s.WriteString("\x02")
	put := func(n int, line string) { s.WriteString(strings.Repeat("1-1:"+line+"\r\n", n)) }
	for _, line := range []string{"F.F(00000000)", "0.0.0(001LGZ0056859504)", "0.9.1(185532)", "0.9.2(210410)", "0.1.0(01)", "0.1.2*01(2104010000)"} {
		put(1, line)
	}
	put(14, "0.1.2*00(0000000000)")
	for _, demand := range []struct{ now, most, before string }{
		{"1.5.0(00.030*kW)", "1.6.0(10.102*kW)(2104070015)", "1.6.0*01(06.130)(2101281415)"}, {"", "", "1.6.0*00(00.000)(0000000000)"},
		{"", "", "1.8.0(0000094.5*kWh)"}, {"", "", "1.8.0*01(0000010.2)"}, {"", "", "1.8.0*00(0000000.0)"},
		{"2.5.0(00.000*kW)", "2.6.0(09.293*kW)(2104021300)", "2.6.0*01(09.301)(2103301415)"}, {"", "", "2.6.0*00(00.000)(0000000000)"},
	} {
		if demand.now != "" {
			put(1, demand.now)
			put(1, demand.most)
		}
		n := 1
		if strings.Contains(demand.before, "*00") {
			n = 14
		}
		put(n, demand.before)
	}
	for _, energy := range [][3]string{
		{"2.8.0", "0000293.9*kWh", "0000106.8"}, {"5.8.0", "0000001.1*kvarh", "0000001.1"}, {"6.8.0", "0000000.3*kvarh", "0000000.3"},
		{"7.8.0", "0000036.8*kvarh", "0000008.8"}, {"8.8.0", "0000158.8*kvarh", "0000029.5"},
	} {
		put(1, energy[0]+"("+energy[1]+")")
		put(1, energy[0]+"*01("+energy[2]+")")
		put(14, energy[0]+"*00(0000000.0)")
	}
	for _, line := range []string{
		"C.5(0000E0F0)", "C.7.0(00000008)", "C.7.1(00000009)", "C.7.2(00000010)", "C.7.3(00000010)", "0.2.0(B40)", "0.2.1(017)", "0.2.8(7F42)",
		"32.7.0(235.2*V)", "52.7.0(235.0*V)", "72.7.0(237.6*V)", "31.7.0(003.54*A)", "51.7.0(007.63*A)", "71.7.0(003.81*A)",
		"36.7.0(-000.82*kW)", "56.7.0( 001.67*kW)", "76.7.0(-000.81*kW)", "16.7.0( 000.03*kW)",
		"151.7.0(-000.05*kvar)", "171.7.0(-000.51*kvar)", "191.7.0(-000.37*kvar)", "131.7.0(-000.95*kvar)", "0.5.1.2(80.000*kW)",
	} {
		put(1, line)
	}
	return s.String() + "!\r\n\x03\n"
}

// Readouts of meters nobody here has, as their owners and readers print them,
// with the block check that came along.
func TestRealReadouts(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want []string // among what it says
	}{
		"Landis & Gyr ZMD310: a space in the place of a sign": {zmd(), []string{
			"error=00000000", "meter_number=001LGZ0056859504", "time=18:55:32", "date=2021-04-10", "0.1.2*01=2021-04-01T00:00:00", "0.1.2*00=0000000000",
			"1.6.0=10.102kW", "1.6.0=2021-04-07T00:15:00", "energy_import=94.5kWh", "energy_export=293.9kWh", "voltage_l1=235.2V", "current_l2=7.63A",
			"36.7.0=-0.82kW", "56.7.0=1.67kW", "power=0.03kW", "131.7.0=-0.95kvar",
		}},
		"Logarex LK13": {"\x02" +
			"1-0:96.1.0*255(001LOG0065282495)\r\n1-0:1.8.0*255(015882.6927*kWh)\r\n1-0:2.8.0*255(000219.4882*kWh)\r\n1-0:16.7.0*255(000028*W)\r\n" +
			"1-0:32.7.0*255(235.2*V)\r\n1-0:52.7.0*255(235.8*V)\r\n1-0:72.7.0*255(237.1*V)\r\n1-0:31.7.0*255(000.90*A)\r\n1-0:51.7.0*255(002.28*A)\r\n" +
			"1-0:71.7.0*255(001.85*A)\r\n1-0:81.7.1*255(117*deg)\r\n1-0:81.7.2*255(242*deg)\r\n1-0:81.7.4*255(032*deg)\r\n1-0:81.7.15*255(051*deg)\r\n" +
			"1-0:81.7.26*255(073*deg)\r\n1-0:14.7.0*255(49.9*Hz)\r\n1-0:1.8.0*96(00019.3*kWh)\r\n1-0:1.8.0*97(00158.7*kWh)\r\n1-0:1.8.0*98(01074.7*kWh)\r\n" +
			"1-0:1.8.0*99(09027.4*kWh)\r\n1-0:1.8.0*100(15882.6*kWh)\r\n1-0:0.2.0*255(ver.03,432F,20170504)\r\n1-0:96.90.2*255(0F66)\r\n" +
			"1-0:97.97.0*255(00000000)\r\n!\r\n\x03\x67", []string{
			"96.1.0=001LOG0065282495", "energy_import=15882.6927kWh", "energy_export=219.4882kWh", "power=28W", "frequency=49.9Hz", "1.8.0*96=19.3kWh",
		}},
		"two values in one pair of brackets, Landis & Gyr UH50": {checked("\x026.6(0013.0*kW)6.6*01(0013.0*kW)6.33(000.528*m3ph)9.4(082.2*C&079.6*C)\r\n" +
			"9.36(2022-06-30&13:40:07)9.24(1.5*m3ph)\r\n!\r\n"), []string{"6.6=13.0kW", "9.4=82.2C", "9.4=79.6C", "9.36=2022-06-30&13:40:07"}},
		"EMH: a digit for the season": {checked("\x020.9.1(1235703)\r\n0.9.2(1220826)\r\n1.6.1(0.482*kW)(1190711111500)\r\n!\r\n"), []string{
			"time=23:57:03", "date=2022-08-26", "1.6.1=2019-07-11T11:15:00"}},
		"MCS: a time with colons": {checked("\x021-0:0.9.1(14:45:59)\r\n!\r\n"), []string{"time=14:45:59"}},
	} {
		d := Describe([]byte(c.in))
		said := " " + line(d) + " "
		if !d.Valid {
			t.Errorf("%s: %s", name, d.Reason)
		}
		for _, w := range c.want {
			if !strings.Contains(said, " "+w+" ") {
				t.Errorf("%s: no %q in %s", name, w, said)
			}
		}
	}
}
