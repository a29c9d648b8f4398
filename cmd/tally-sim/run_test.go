package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/sim"
	"github.com/tallystick/tallystick/drivers/sim/meter"
)

const curve = "\ufeffdate,Usage_kWh,Lagging_Current_Reactive_Power_kVarh,Leading_Current_Reactive_Power_kVarh\r\n" +
	"31/01/2018 23:45,1000,0,0\r\n31/01/2018 00:00,0.1,0,0\r\n01/02/2018 00:15,3.17,2.95,0\r\n01/02/2018 00:30,4,4.46,0\r\n01/02/2018 00:45,0.02,0,0\r\n"

func curveFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "curve.csv")
	if err := os.WriteFile(path, []byte(curve), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRunToTheEndOfACurve(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{
		"--line", "tcp:127.0.0.1:0", "--meter", "7=acrel-dtsd1352,name=press,base=100.01", "--meter", "8-9=acrel-dtsd1352,ratio=200/5,base=0",
		"--line", "rtu-tcp:127.0.0.1:0@9600-8N1", "--meter", "7=eastron-sdm630,share=50%,base=9.99",
		"--load-curve", curveFile(t), "--from", "2018-02-01", "--to", "2018-02-01T00:30", "--speed", "1e9", "--exit-at-end", "--json",
	}, &stdout, &stderr)
	if code != 0 || stderr.Len() > 0 {
		t.Fatalf("exit %d, stderr %q", code, stderr.String())
	}
	var ready readyJSON
	var sum summaryJSON
	out := json.NewDecoder(&stdout)
	if err := out.Decode(&ready); err != nil {
		t.Fatal(err)
	}
	if err := out.Decode(&sum); err != nil {
		t.Fatal(err)
	}
	if !ready.Ready || len(ready.Lines) != 2 || len(ready.Lines[0].Meters) != 3 || ready.Lines[1].Serial != "9600 8N1" ||
		ready.Lines[0].Kind != sim.TCP || strings.HasSuffix(ready.Lines[0].Address, ":0") {
		t.Errorf("ready: %+v", ready)
	}
	want := []summaryMeter{
		{Meter: "press", Unit: 7, Profile: "acrel-dtsd1352", EnergyBase: "100.01", EnergyImport: "107.18", CurveKWh: "7.17"},
		{Meter: "acrel-dtsd1352-8", Unit: 8, Profile: "acrel-dtsd1352", EnergyBase: "0.00", EnergyImport: "0.17", CurveKWh: "7.17"}, // 7.17 / 40 = 0.179
		{Meter: "acrel-dtsd1352-9", Unit: 9, Profile: "acrel-dtsd1352", EnergyBase: "0.00", EnergyImport: "0.17", CurveKWh: "7.17"},
		{Meter: "eastron-sdm630-7", Unit: 7, Profile: "eastron-sdm630", EnergyBase: "9.99", EnergyImport: "13.57", CurveKWh: "3.585"},
	}
	if !sum.Ended || len(sum.Meters) != len(want) {
		t.Fatalf("summary: %+v", sum)
	}
	for i := range want {
		if sum.Meters[i] != want[i] {
			t.Errorf("%+v\nwant %+v", sum.Meters[i], want[i])
		}
	}
}

func TestRunUntilStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"--line", "tcp:127.0.0.1:0", "--meter", "1=acrel-dtsd1352,base=5", "--hold", "first-poll"}, &stdout, &stderr)
	if code != 0 || stderr.Len() > 0 {
		t.Fatalf("exit %d, stderr %q", code, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	if len(lines) != 5 || !strings.HasPrefix(lines[0], "tcp     127.0.0.1:") || lines[2] != "ready: 1 meters on 1 lines" ||
		strings.Join(strings.Fields(lines[4]), " ") != "acrel-dtsd1352-1 unit 1 0 5.00 5.00 0.00" {
		t.Errorf("printed:\n%s", stdout.String())
	}
}

// Meters of every protocol on one line, as they are reported.
func TestRunMixedLine(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{
		"--line", "rtu-tcp:127.0.0.1:0@2400-8E1,echo,garbage,lost=1%,late=0.5%:3s",
		"--meter", "1=acrel-dtsd1352,base=1,serial=9600-8N1", "--meter", "2=acrel-dtsd1352,base=2",
		"--meter", "000000000123=dlt645-2007-3ph,base=3,wakeup=4,exchange=2h:000000000124,reset=1h", "--meter", "000000000123=dlt645-1997,base=4,twin",
		"--meter", "33780012345678=cjt188-water,base=5,order=low,ser=0", "--meter", "iec:123=iec62056-generic,base=6,serial=300-7E1,baud=2400",
		"--hold", "first-poll", "--json",
	}, &stdout, &stderr)
	if code != 0 || stderr.Len() > 0 {
		t.Fatalf("exit %d, stderr %q", code, stderr.String())
	}
	var ready readyJSON
	var sum summaryJSON
	out := json.NewDecoder(&stdout)
	if err := out.Decode(&ready); err != nil {
		t.Fatal(err)
	}
	if err := out.Decode(&sum); err != nil {
		t.Fatal(err)
	}
	wantReady := []readyMeter{
		{"acrel-dtsd1352-1", 1, "", "acrel-dtsd1352", "9600 8N1"},
		{"acrel-dtsd1352-2", 2, "", "acrel-dtsd1352", ""},
		{"dlt645-2007-3ph-000000000123", 0, "000000000123", "dlt645-2007-3ph", ""},
		{"dlt645-1997-000000000123", 0, "000000000123", "dlt645-1997", ""},
		{"dlt645-1997-000000000123", 0, "000000000123", "dlt645-1997", ""},
		{"cjt188-water-33780012345678", 0, "33780012345678", "cjt188-water", ""},
		{"iec62056-generic-123", 0, "123", "iec62056-generic", "300 7E1"},
	}
	if len(ready.Lines) != 1 || !slices.Equal(ready.Lines[0].Meters, wantReady) {
		t.Errorf("ready %+v\nwant %+v", ready.Lines, wantReady)
	}
	for i, want := range []string{"1.00", "2.00", "3.00", "4.00", "4.00", "", "6.000"} {
		m := sum.Meters[i]
		if m.EnergyImport != want || m.Address != wantReady[i].Address || (want == "") != (m.Volume == "5.00" && m.VolumeBase == "5.00") {
			t.Errorf("%+v, want energy %q", m, want)
		}
	}
}

func TestMistakes(t *testing.T) {
	line := []string{"--line", "tcp:127.0.0.1:0"}
	for _, c := range []struct {
		args []string
		exit int
		want string
	}{
		{nil, 2, "tally-sim: error: no --line\ntally-sim: hint: for example: tally-sim --line tcp:127.0.0.1:1502 --meter 1=eastron-sdm630\n"},
		{line, 2, "tally-sim: error: line tcp:127.0.0.1:0 has no --meter\n"},
		{[]string{"--meter", "1=eastron-sdm630"}, 2, "tally-sim: error: invalid argument \"1=eastron-sdm630\" for \"--meter\" flag: a meter belongs to the --line before it, and there is none\ntally-sim: hint: run: tally-sim --help\n"},
		{[]string{"--line", "udp:x"}, 2, "tally-sim: error: invalid argument \"udp:x\" for \"--line\" flag: expected rtu:LINK@9600-8N1, rtu-tcp:HOST:PORT@9600-8N1 or tcp:HOST:PORT\ntally-sim: hint: run: tally-sim --help\n"},
		{append(line, "--meter", "1=eastron-sdm630", "--speed", "0"), 2, "tally-sim: error: speed 0: expected a number above 0\n"},
		{append(line, "--meter", "1=eastron-sdm630", "--hold", "soon"), 2, "tally-sim: error: hold \"soon\": expected a duration, first-poll, or first-poll+DURATION\n"},
		{append(line, "--meter", "1=eastron-sdm630", "--exit-at-end"), 2, "tally-sim: error: --to and --exit-at-end need --load-curve: the built-in shifts have no end\n"},
		{append(line, "--meter", "1=eastron-sdm630", "--load-curve", "/nowhere.csv"), 3, "tally-sim: error: load curve: open /nowhere.csv: no such file or directory\ntally-sim: hint: --load-curve takes the path of a CSV file\n"},
		{[]string{"--line", "tcp:127.0.0.1:99999", "--meter", "1=eastron-sdm630"}, 3, "tally-sim: error: line tcp:127.0.0.1:99999: listen tcp: address 99999: invalid port\n"},
		{[]string{"--line", "rtu:", "--meter", "123=dlt645-1997"}, 2, "tally-sim: error: meter dlt645-1997-123: address \"123\": expected 12 digits\n"},
		{[]string{"--line", "rtu:", "--meter", "000000000123=dlt645-1997,exchange=1h:5"}, 2, "tally-sim: error: meter dlt645-1997-000000000123: exchange: number \"5\": expected 12 digits\n"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), c.args, &stdout, &stderr); code != c.exit || stderr.String() != c.want {
			t.Errorf("%q: exit %d, %s\nwant %d, %s", c.args, code, stderr.String(), c.exit, c.want)
		}
	}
	path := curveFile(t)
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), append(line, "--meter", "1=eastron-sdm630", "--load-curve", path, "--from", "2019-01-01"), &stdout, &stderr)
	want := "tally-sim: error: " + path + ": no load from 2019-01-01 00:00 to (open): the load covers 2018-01-31 23:30 to 2018-02-01 00:45\ntally-sim: hint: choose --from and --to within the curve\n"
	if code != 2 || stderr.String() != want {
		t.Errorf("exit %d, %s\nwant %s", code, stderr.String(), want)
	}
}

func TestFlagGrammar(t *testing.T) {
	var p wiring
	lines, meters := lineFlag{&p}, meterFlag{&p}
	for _, s := range []string{"rtu:/run/a@19200-8E1", "rtu:", "rtu-tcp:[::1]:4001"} {
		if err := lines.Set(s); err != nil {
			t.Errorf("--line %s: %v", s, err)
		}
	}
	if p[0].Address != "/run/a" || p[0].Serial != (drivers.Settings{Baud: 19200, DataBits: 8, Parity: 'E', StopBits: 1}) || p[2].Address != "[::1]:4001" {
		t.Errorf("%+v", p)
	}
	if err := meters.Set("2-4=x,name=n,ratio=3,share=12.5%,base=1.5"); err != nil {
		t.Fatal(err)
	}
	m := p[2].meters[0]
	if m.first != 2 || m.last != 4 || m.profile != "x" || m.name != "n" || m.ratio != 3 || m.share != 125 || *m.base != (drivers.Decimal{Coef: 1500000, Exp: -6}) {
		t.Errorf("%+v", m)
	}
	for _, s := range []string{"", "1", "1=", "=x", "0=x", "248=x", "5-3=x", "a=x", "1-=x", "4-9=x", "4=x",
		"9=x,", "9=x,colour=red", "9=x,ratio=0", "9=x,ratio=5/3", "9=x,ratio=5/0", "9=x,share=25", "9=x,share=0%", "9=x,share=101%", "9=x,base=-1", "9=x,base=1.1234567", "9=x,base=x"} {
		if err := meters.Set(s); err == nil {
			t.Errorf("--meter %q: no error", s)
		}
	}
	if err := meters.Set("9=x,serial=9600-8N1"); err != nil {
		t.Error(err)
	}
	for _, s := range []string{"10=x,serial=fast", "10=x,delay=-1s", "10=x,wakeup=5", "10=x,digits=0", "10=x,baud=1", "10=x,order=both", "10=x,ser=1", "10=x,mode=B",
		"10=x,late=1", "10=x,late=101%", "10=x,late=1%:soon", "10=x,lost=-1%", "10=x,lost=NaN%", "10=x,reset=soon", "10=x,exchange=x:1"} {
		if err := meters.Set(s); err == nil {
			t.Errorf("--meter %q: no error", s)
		}
	}
	if err := lines.Set("rtu:/run/b@2400-8E1,echo,late=1%:3s,lost=0.5%"); err != nil {
		t.Fatal(err)
	}
	if l := p[3]; !l.Echo || l.Garbage || l.Address != "/run/b" || l.rates != (meter.Rates{Late: 0.01, LateBy: 3 * time.Second, Lost: 0.005}) {
		t.Errorf("%+v", l)
	}
	if err := meters.Set("000000000123=dlt645-2007-1ph,lost=100%,open-cover=2h,exchange=1h:000000000009"); err != nil {
		t.Fatal(err)
	}
	if m := p[3].meters[0]; m.address != "000000000123" || m.first != 0 || m.rates.Lost != 1 ||
		!slices.Equal(m.acts, []meter.Act{{At: 2 * time.Hour, Deed: meter.OpenCover}, {At: time.Hour, Deed: meter.Exchange, Number: "000000000009"}}) {
		t.Errorf("%+v", m)
	}
	if err := meters.Set("000000000123=dlt645-2007-1ph"); err == nil {
		t.Error("the same address twice: no error")
	}
	if err := lines.Set("tcp:127.0.0.1:0,lost=1%"); err != nil {
		t.Error(err)
	}
	for _, s := range []string{"1=x,serial=9600-8N1", "1=x,twin", "000000000123=dlt645-1997"} {
		if err := meters.Set(s); err == nil {
			t.Errorf("--meter %q on a tcp line: no error", s)
		}
	}
	for _, s := range []string{"", "rtu", "rtu:/run/a@fast", "rtu:/run/a,loud", "tcp:x:1,echo"} {
		if err := lines.Set(s); err == nil {
			t.Errorf("--line %q: no error", s)
		}
	}
}
