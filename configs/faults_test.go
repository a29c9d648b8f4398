package configs_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/configs"
)

var update = flag.Bool("update", false, "write testdata/faults.txt anew, to be read before it is checked in")

// The exact words for what is wrong with a site file. The files are small
// changes to one good file; the words are in testdata/faults.txt.
func TestFaults(t *testing.T) {
	with := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the good file", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	meter := func(keys string) string { return good + "    " + keys + "\n" }
	lender := func(keys string) string { return good + "lenders:\n  - {name: bank, " + keys + "}\n" }
	const plain = "broker: mqtts://h, share: [energy], ack: puback"
	cases := []struct{ name, text string }{
		{"people 1, a typo in a key", with("    address: 7\n", "    adress: 7\n")},
		{"people 1, another program's key", with("port: /dev/ttyUSB0", "port: /dev/ttyUSB0, baudrate: 9600")},
		{"people 2, a required key is missing", with("    profile: eastron-sdm630\n", "")},
		{"people 2, a line without port", with(", port: /dev/ttyUSB0", "")},
		{"people 3, wrong type", with("address: 7", "address: seven")},
		{"people 4, duplicate meter name", good + "  - {name: press-1, line: hall-a, address: 8, profile: eastron-sdm630}\n"},
		{"people 5, syntax", with("    line: hall-a", "    line hall-a")},
		{"C-03 several at once", with("address: 7", "address: 300\n    interval: -1s") + "  - {name: press-1, line: hall-c, address: 0, profile: eastron}\nwindow: 0s\nbuffer: {quota: 1MB}\nfoo: 1\n"},

		{"line unknown, near", with("line: hall-a", "line: hal-a")},
		{"line unknown, far", with("line: hall-a", "line: zzz")},
		{"line name twice", with("meters:", "  - {name: hall-a, port: /dev/ttyUSB1}\nmeters:")},
		{"port twice", with("meters:", "  - {name: hall-b, port: /dev//ttyUSB0}\nmeters:")},
		{"port twice, other settings", with("meters:", "  - {name: hall-b, port: /dev/ttyUSB0, serial: 19200 8E1}\nmeters:")},
		{"tcp twice", with("meters:", "  - {name: b, tcp: '10.0.0.1:502'}\n  - {name: c, tcp: '10.0.0.1:502'}\nmeters:")},
		{"port and tcp", with("port: /dev/ttyUSB0", "port: /dev/ttyUSB0, tcp: 10.0.0.1:502")},
		{"port relative", with("/dev/ttyUSB0", "ttyUSB0")},
		{"settings short", with("/dev/ttyUSB0", "/dev/ttyUSB0, serial: 9600")},
		{"settings speed", with("/dev/ttyUSB0", "/dev/ttyUSB0, serial: 9600000 8N1")},
		{"settings 7 bits", with("/dev/ttyUSB0", "/dev/ttyUSB0, serial: 9600 7E1")},
		{"settings on tcp", with("port: /dev/ttyUSB0", "tcp: 10.0.0.1:502, serial: 9600 8N1")},
		{"rs485", with("/dev/ttyUSB0", "/dev/ttyS1, rs485: {rts_on_send: up, delay_before: 1s, delay_after: 1500us}")},
		{"rs485 true", with("/dev/ttyUSB0", "/dev/ttyS1, rs485: true")},
		{"rs485 on tcp", with("port: /dev/ttyUSB0", "tcp: 10.0.0.1:502, rs485: {rts_on_send: low}")},
		{"port is an alias", with("port: /dev/ttyUSB0", "label: &a x, port: *a")},
		{"tcp without port", with("port: /dev/ttyUSB0", "tcp: 10.0.0.1")},
		{"tcp bad address", with("port: /dev/ttyUSB0", "tcp: 10.0.0.256:502")},
		{"tcp name too long", with("port: /dev/ttyUSB0", "tcp: '"+strings.Repeat("a", 254)+":502'")},
		{"tcp with scheme", with("port: /dev/ttyUSB0", "tcp: 'tcp://10.0.0.1:502'")},

		{"address twice", good + "  - {name: press-2, line: hall-a, address: 7, profile: eastron-sdm630}\n"},
		{"address 0", with("address: 7", "address: 0")},
		{"address 248", with("address: 7", "address: 248")},
		{"address octal", with("address: 7", "address: 010")},
		{"protocol on serial", meter("protocol: modbus-tcp")},
		{"protocol near", meter("protocol: modbus-rtx")},
		{"protocol far", meter("protocol: dlt645")},
		{"protocol missing on tcp", with("port: /dev/ttyUSB0", "tcp: 10.0.0.1:502")},
		{"protocol misspelt on tcp", with("port: /dev/ttyUSB0", "tcp: 10.0.0.1:502") + "    portocol: modbus-tcp\n"},
		{"protocols mixed", with("port: /dev/ttyUSB0", "tcp: 10.0.0.1:502") + "    protocol: modbus-tcp\n  - {name: b, line: hall-a, address: 1, profile: eastron-sdm630, protocol: modbus-rtu}\n"},
		{"profile near", with("eastron-sdm630", "eastron-sdm360")},
		{"profile far", with("eastron-sdm630", "zzz")},
		{"quantities", meter("quantities: [voltag_l1, power, power]")},
		{"quantities empty", meter("quantities: []")},
		{"ct endless", meter("ct: 200/3")},
		{"ct zero", meter("ct: 0/5")},
		{"ct text", meter("ct: large")},
		{"ct negative", meter("ct: -5")},
		{"ct huge", meter("ct: 999999999/0.000001")},

		{"interval 0s", meter("interval: 0s")},
		{"interval 0", meter("interval: 0")},
		{"interval negative", meter("interval: -1s")},
		{"interval 25h", meter("interval: 25h")},
		{"interval fraction", meter("interval: 1000500us")},
		{"interval does not divide", meter("interval: 7s")},
		{"interval is no multiple", meter("interval: 90s")},
		{"interval too many", meter("interval: 100ms") + "window: 10m\n"},
		{"timeout", meter("timeout: 1ms")},
		{"timeout 0", meter("timeout: 0s")},
		{"window short", good + "window: 1s\n"},
		{"window does not fit the default interval", good + "window: 45s\n"},

		{"channels", good + "channels: [energie, power, power]\n"},
		{"channels empty", good + "channels: []\n"},
		{"channels made of others", good + "window: 70s\nchannels: [aggregates, daily, power]\n"},
		{"raw frames as a channel", good + "channels: [energy, raw-frames]\n"},
		{"raw frames without timing", meter("raw_frames: true") + "channels: [energy]\n"},
		{"raw frames shared, none kept", lender("broker: mqtts://h, share: [energy, raw-frames], ack: puback")},
		{"channels not a list", good + "channels: energy\n"},

		{"C-06 name with space", with("press-1", "Press 1")},
		{"C-06 name in Chinese", with("press-1", "冲压一号")},
		{"C-06 name climbs", with("press-1", "../etc")},
		{"C-06 name is a wildcard", with("press-1", "'#'")},
		{"C-06 name with NUL", with("press-1", `"a\0b"`)},
		{"C-06 lender name", good + "lenders: [{name: a+b, " + plain + "}]\n"},
		{"C-06 label turns", with("{name: demo}", `{name: demo, label: "a\u202eb"}`)},
		{"C-06 password", lender(plain + ", password: geheim")},
		{"C-06 secret at top", good + "secret: geheim\n"},
		{"C-06 password in URL", lender("broker: 'mqtts://user:geheim@h', share: [energy], ack: puback")},
		{"C-06 private key", lender("broker: mqtts://h, share: [energy], public_key: \"-----BEGIN PRIVATE KEY-----\"")},

		{"broker scheme", lender("broker: tcp://h:1883, share: [energy], ack: puback")},
		{"broker bare", lender("broker: mq.bank.example:8883, share: [energy], ack: puback")},
		{"broker path", lender("broker: mqtts://h/x, share: [energy], ack: puback")},
		{"broker port", lender("broker: mqtts://h:99999, share: [energy], ack: puback")},
		{"broker public, clear", lender("broker: mqtt://mq.bank.example, share: [energy], ack: puback")},
		{"broker private, clear password", lender("broker: mqtt://192.168.1.5, share: [energy], ack: puback, username: a, password_file: x")},
		{"password without user", lender(plain + ", password_file: x")},
		{"tls half", lender(plain + ", tls: {cert: x}")},
		{"tls skip", lender(plain + ", tls: {insecure_skip_verify: true}")},
		{"tls without mqtts", lender("broker: mqtt://localhost, share: [energy], ack: puback, tls: {ca: x}")},
		{"public key missing", lender("broker: mqtts://h, share: [energy]")},
		{"public key bare", lender("broker: mqtts://h, share: [energy], public_key: abc")},
		{"public key short", lender("broker: mqtts://h, share: [energy], public_key: 'ed25519:abc'")},
		{"public key zero", lender("broker: mqtts://h, share: [energy], public_key: 'ed25519:" + strings.Repeat("A", 43) + "'")},
		{"ack", lender("broker: mqtts://h, share: [energy], ack: yes")},
		{"share missing", lender("broker: mqtts://h, ack: puback")},
		{"share empty", lender("broker: mqtts://h, share: [], ack: puback")},
		{"share not read", lender("broker: mqtts://h, share: [status], ack: puback") + "channels: [energy]\n"},
		{"share of a channel that is not there by default", lender("broker: mqtts://h, share: [daily], ack: puback")},
		{"days", lender(plain + ", from: 2026-02-30, until: 1.3.2026, expires: soon")},
		{"days backwards", lender(plain + ", from: 2026-03-02, until: 2026-03-01")},
		{"consent", lender(plain + ", consent: yes")},
		{"client ids", lender(plain+", client_id: x") + "  - {name: c, " + plain + ", client_id: x}\n  - {name: d, " + plain + ", client_id: 'a b'}\n"},

		{"buffer", good + "buffer: {quota: 1MB, sync_interval: 0s, retention: 1m, directory: ''}\nkey: ~/x\n"},
		{"timezone unknown", good + "timezone: Asia/Beijing\n"},
		{"timezone offset", good + "timezone: UTC+8\n"},
		{"timezone of the machine", good + "timezone: Local\n"},
		{"timezone a path", good + "timezone: ../localtime\n"},
		{"timezone empty", good + "timezone: ''\n"},
		{"quota without unit", good + "buffer: {quota: 12}\n"},
		{"lists empty", "site: {name: a}\nlines: []\nmeters: []\n"},
		{"lists missing", "site: {}\n"},
		{"not a group", "- a\n"},
	}
	want := make(map[string]string)
	if !*update {
		golden, err := os.ReadFile("testdata/faults.txt")
		if err != nil {
			t.Fatal(err)
		}
		for _, section := range strings.Split(string(golden), "== ")[1:] {
			name, faults, _ := strings.Cut(section, "\n")
			want[name] = strings.TrimSpace(faults)
		}
	}
	var golden strings.Builder
	for _, c := range cases {
		got, shown := faultsOf(t, c.text)
		if got == "" {
			t.Errorf("%s: accepted\n%s", c.name, c.text)
		}
		if strings.Contains(got+shown, "geheim") {
			t.Errorf("%s: the message shows the secret: %s", c.name, got)
		}
		if !*update && got != want[c.name] {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, want[c.name])
		}
		golden.WriteString("== " + c.name + "\n" + got + "\n\n")
	}
	if *update {
		if err := os.WriteFile("testdata/faults.txt", []byte(golden.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if len(want) != len(cases) {
		t.Errorf("%d cases, %d in the golden file", len(cases), len(want))
	}
}

// A fault in a line's name is one fault, not one more for each meter on it.
func TestMeterOnALineWithoutName(t *testing.T) {
	_, err := configs.ParseSite("s.yaml", []byte("site: {name: x}\nlines:\n  - {nam: a, port: /dev/ttyUSB9}\nmeters:\n  - {name: m, line: a, address: 5, profile: p}\n"), nil)
	if err == nil || strings.Contains(err.Error(), configs.CodeLine) {
		t.Errorf("%v, want the fault of the line alone", err)
	}
}
