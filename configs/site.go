package configs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/configs/strict"
)

// Site is a site file, checked and complete: LoadSite fills in what the file
// leaves out, makes every path absolute, and returns no Site with a fault in
// it. It is not changed afterwards and may be read by any goroutine.
type Site struct {
	Site     Identity      `yaml:"site" required:"true"`
	Lines    []Line        `yaml:"lines" required:"true"`
	Meters   []Meter       `yaml:"meters" required:"true"`
	Channels []Channel     `yaml:"channels"` // what is sealed at all; DefaultChannels by default
	Lenders  []Lender      `yaml:"lenders"`  // the box works without any
	Buffer   Buffer        `yaml:"buffer"`
	Window   time.Duration `yaml:"window"`
	Timezone Zone          `yaml:"timezone"`       // in which days are counted
	Key      string        `yaml:"key" digest:"-"` // file of the box's private key
	Signing  Signing       `yaml:"signing"`
	// Witnesses is a file in the syntax of C2SP tlog-policy: the witnesses with
	// an address in it are shown each checkpoint. Empty: none are asked.
	Witnesses string `yaml:"witnesses" digest:"-"`
	Profiles  string `yaml:"profiles" digest:"-"` // directory of further device profiles; empty: none

	File                    // where all this was read
	Warnings []strict.Fault // what is allowed but ought to be looked at
}

// Identity names the site.
type Identity struct {
	Name  Name  `yaml:"name" required:"true"`
	Label Label `yaml:"label"`
}

// Signing says with which suite the evidence is signed, and where the key lives.
// It is chosen before the first run and cannot be changed for a history.
type Signing struct {
	Suite   Suite  `yaml:"suite"`
	TPM     string `yaml:"tpm" digest:"-"` // device of the TPM 2.0 that holds the key; empty: none
	Counter NVRAM  `yaml:"counter"`        // the TPM's index that counts
	PKCS11  PKCS11 `yaml:"pkcs11"`         // the token that holds the key
}

// Suite is a signature suite by name.
type Suite string

const (
	Ed25519 Suite = "ed25519" // a file; also when none is named
	ES256   Suite = "es256"   // a file, a TPM or a token
	SM2     Suite = "sm2"     // a file
)

// PKCS11 names a token of a vendor's library.
type PKCS11 struct {
	Module  string `yaml:"module" required:"true" digest:"-"`
	Token   string `yaml:"token" required:"true" digest:"-"` // its label
	PINFile string `yaml:"pin_file" digest:"-"`              // mode 0600; empty: from the environment
}

// NVRAM is the handle of an NV index of a TPM.
type NVRAM uint32

// DefaultCounter is where a box's counter is kept.
const DefaultCounter NVRAM = 0x01807a10

// UnmarshalText reads a handle such as 0x01807a10.
func (h *NVRAM) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 0, 32)
	if err != nil || n < 0x01800000 || n > 0x01bfffff {
		return strict.Problem{Code: CodeSigning, Msg: "expected a handle from 0x01800000 to 0x01bfffff, found " + quote(string(b)),
			Hint: "leave the key out, unless another program uses " + DefaultCounter.String()}
	}
	*h = NVRAM(n)
	return nil
}

// String is what UnmarshalText reads.
func (h NVRAM) String() string { return fmt.Sprintf("0x%08x", uint32(h)) }

// Line is one physical bus, either a serial port or a TCP connection.
type Line struct {
	Name   Name     `yaml:"name" required:"true"`
	Label  Label    `yaml:"label"`
	Port   string   `yaml:"port"`   // serial device, absolute; empty on a TCP line
	Serial Settings `yaml:"serial"` // of Port; zero on a TCP line
	RS485  RS485    `yaml:"rs485"`  // zero where the kernel is not to switch the direction
	TCP    Address  `yaml:"tcp"`    // empty on a serial line
}

// RS485 has the kernel switch the direction of Port by its RTS line, on a board
// that is wired so.
type RS485 struct {
	RTSOnSend   Level         `yaml:"rts_on_send"`  // of RTS while sending; high by default
	DelayBefore time.Duration `yaml:"delay_before"` // from switching to the first bit
	DelayAfter  time.Duration `yaml:"delay_after"`  // from the last bit to switching back
}

// Level is that of a signal.
type Level string

const (
	High Level = "high"
	Low  Level = "low"
)

// Protocol is how a meter is spoken to.
type Protocol string

const (
	ModbusRTU   Protocol = "modbus-rtu"   // on a serial line, or through a TCP serial server
	ModbusASCII Protocol = "modbus-ascii" // likewise
	ModbusTCP   Protocol = "modbus-tcp"   // on a TCP line
	DLT645v2007 Protocol = "dlt645-2007"  // on a serial line, or through a TCP serial server
	DLT645v1997 Protocol = "dlt645-1997"  // likewise
	CJT188      Protocol = "cjt188"       // likewise
	IEC62056    Protocol = "iec62056-21"  // likewise
)

// Modbus reports whether the meter has a unit number and registers.
func (p Protocol) Modbus() bool { return p == ModbusRTU || p == ModbusASCII || p == ModbusTCP }

func protocols() []string {
	return []string{string(ModbusRTU), string(ModbusASCII), string(ModbusTCP),
		string(DLT645v2007), string(DLT645v1997), string(CJT188), string(IEC62056)}
}

// Meter is one meter on a line.
type Meter struct {
	Name       Name          `yaml:"name" required:"true"`
	Label      Label         `yaml:"label"`
	Line       string        `yaml:"line" required:"true"` // Name of the line
	Protocol   Protocol      `yaml:"protocol"`             // the profile's by default; of Modbus modbus-rtu on a serial line
	Address    MeterAddress  `yaml:"address" required:"true"`
	Serial     Settings      `yaml:"serial"` // where they are not the line's; zero on a TCP line
	Profile    string        `yaml:"profile" required:"true"`
	CT         Ratio         `yaml:"ct"` // of the current transformer, 1 by default
	PT         Ratio         `yaml:"pt"` // of the voltage transformer, 1 by default
	Interval   time.Duration `yaml:"interval"`
	Timeout    time.Duration `yaml:"timeout"`    // for one reply; 0: the profile's
	Quantities []string      `yaml:"quantities"` // the profile's default ones when empty
	Main       bool          `yaml:"main"`       // the incoming meter: the others of its kind are behind it
	RawFrames  bool          `yaml:"raw_frames"` // what crosses the wire is sealed too, for disputes
}

// Channel is one channel of the evidence, the unit of consent
// (uplink/evidence/SPEC.md).
type Channel string

const (
	Energy         Channel = "energy"
	Power          Channel = "power"
	VoltageCurrent Channel = "voltage-current"
	Reactive       Channel = "reactive"
	Frequency      Channel = "frequency"
	Timing         Channel = "timing"
	Status         Channel = "status"
	WaterGas       Channel = "water-gas"
	Aggregates     Channel = "aggregates" // made of energy and power
	Daily          Channel = "daily"      // made of energy

	// RawFrames is sealed for the meters that say so (Meter.RawFrames), whatever
	// the site's channels are, and goes to a lender whose share names it.
	RawFrames Channel = "raw-frames"
)

// DefaultChannels are those a site seals that names none: all that is read.
func DefaultChannels() []Channel {
	return []Channel{Energy, Power, VoltageCurrent, Reactive, Frequency, Timing, Status, WaterGas}
}

// AllChannels are the channels a site file may name, in their order.
func AllChannels() []Channel { return append(DefaultChannels(), Aggregates, Daily) }

// madeOf are the channels one is made of, none for those that are read.
func (c Channel) madeOf() []Channel {
	switch c {
	case Aggregates:
		return []Channel{Energy, Power}
	case Daily:
		return []Channel{Energy}
	}
	return nil
}

// Connection is how a broker is reached; both files use it.
type Connection struct {
	Broker       Broker `yaml:"broker" required:"true"`
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file" digest:"-"` // read it with ReadSecret
	ClientID     string `yaml:"client_id"`                // empty: chosen by the program
	TLS          TLS    `yaml:"tls"`
}

// TLS names the files of an encrypted connection. Empty fields mean the
// system's certificate authorities, no client certificate, and the name in the
// broker's URL.
type TLS struct {
	CA         string `yaml:"ca" digest:"-"`
	Cert       string `yaml:"cert" digest:"-"`
	Key        string `yaml:"key" digest:"-"`
	ServerName string `yaml:"server_name"`
}

// Ack says what counts as a delivery.
type Ack string

const (
	AckReceipt Ack = "receipt" // the lender's signed receipt
	AckPUBACK  Ack = "puback"  // the broker's acknowledgement; for lenders that give no receipts
)

// Lender is one recipient and what it is allowed to see.
type Lender struct {
	Name  LenderName `yaml:"name" required:"true"`
	Label Label      `yaml:"label"`
	Connection
	PublicKey PublicKey `yaml:"public_key"` // of its receipts; required with AckReceipt
	Share     []Channel `yaml:"share" required:"true"`
	Ack       Ack       `yaml:"ack"`
	From      Day       `yaml:"from"`    // readings from before are not sent
	Until     Day       `yaml:"until"`   // readings from after are not sent
	Expires   Day       `yaml:"expires"` // after it nothing is sent
	Consent   Need      `yaml:"consent"`
}

// Need says whether a thing has to be there.
type Need string

const Required Need = "required" // nothing is sent without a consent record in the history

// Buffer is the box's own log.
type Buffer struct {
	Directory    string        `yaml:"directory" digest:"-"`
	Quota        Size          `yaml:"quota"`
	SyncInterval time.Duration `yaml:"sync_interval"`
	Retention    time.Duration `yaml:"retention"` // 0: as long as the quota allows
}

// Defaults implements strict.Defaulter.
func (s *Site) Defaults() {
	s.Channels = DefaultChannels()
	s.Window, s.Timezone = DefaultWindow, DefaultTimezone
	s.Buffer.Defaults()
}

// Defaults implements strict.Defaulter.
func (r *RS485) Defaults() { r.RTSOnSend = High }

// Defaults implements strict.Defaulter.
func (m *Meter) Defaults() {
	m.CT, m.PT = Ratio{1, 0}, Ratio{1, 0}
	m.Interval = DefaultInterval
}

// Defaults implements strict.Defaulter.
func (l *Lender) Defaults() { l.Ack = AckReceipt }

// Defaults implements strict.Defaulter.
func (b *Buffer) Defaults() {
	b.Directory, b.Quota, b.SyncInterval = DefaultDirectory, DefaultQuota, DefaultSync
}

// KeyHint implements strict.KeyHinter.
func (*Site) KeyHint(key string) (strict.Problem, bool) { return secretHint(key) }

// KeyHint implements strict.KeyHinter: the words other programs use.
func (*Line) KeyHint(key string) (strict.Problem, bool) {
	switch plainKey(key) {
	case "baudrate", "baud", "speed", "parity", "databits", "stopbits", "bits":
		return strict.Problem{Hint: "write all serial settings as one: serial: " + DefaultSettings}, true
	case "device", "path", "tty":
		return strict.Problem{Hint: "write port: /dev/ttyUSB0"}, true
	case "host", "ip", "url", "uri", "address":
		return strict.Problem{Hint: "write tcp: HOST:PORT"}, true
	}
	return strict.Problem{}, false
}

// KeyHint implements strict.KeyHinter: the words other programs use.
func (*Meter) KeyHint(key string) (strict.Problem, bool) {
	switch plainKey(key) {
	case "unit", "unitid", "slave", "slaveid", "station", "id", "deviceid":
		return strict.Problem{Hint: "write address: the unit number set on the meter"}, true
	case "type", "model", "template", "device":
		return strict.Problem{Hint: "write profile: the meter's profile"}, true
	case "ratio", "ctratio", "transformer":
		return strict.Problem{Hint: "write ct: 200/5 for currents, pt: 10000/100 for voltages"}, true
	case "period", "poll", "rate", "every":
		return strict.Problem{Hint: "write interval: 10s"}, true
	}
	return strict.Problem{}, false
}

// KeyHint implements strict.KeyHinter.
func (*Lender) KeyHint(key string) (strict.Problem, bool) {
	switch plainKey(key) {
	case "key", "pubkey", "lenderkey":
		return strict.Problem{Hint: "write public_key: ed25519:..."}, true
	case "grant", "grants", "channels", "sees":
		return strict.Problem{Hint: "write share: and the channels this lender may see"}, true
	}
	return connectionHint(key)
}

func connectionHint(key string) (strict.Problem, bool) {
	switch plainKey(key) {
	case "url", "host", "server", "uri", "address":
		return strict.Problem{Hint: "write broker: mqtts://HOST:8883"}, true
	case "user", "login":
		return strict.Problem{Hint: `did you mean "username"?`}, true
	case "insecure", "insecureskipverify", "skipverify", "verify", "tlsinsecure":
		return strict.Problem{Code: CodeTLS, Msg: "there is no way to skip the check of the broker's certificate",
			Hint: "write tls: {ca: FILE} with the certificate of the authority that signed it"}, true
	}
	return secretHint(key)
}

// KeyHint implements strict.KeyHinter.
func (*TLS) KeyHint(key string) (strict.Problem, bool) { return connectionHint(key) }

// secretHint refuses a secret in the file itself, without showing it again.
func secretHint(key string) (strict.Problem, bool) {
	switch plainKey(key) {
	case "password", "passwd", "pass", "pw", "secret", "token":
		return strict.Problem{Code: CodeSecret, Secret: true, Msg: "a secret stands in the file, as " + key + ": expected the name of a file that holds it",
			Hint: "put it alone into a file of mode 0600, write password_file: FILE, and change it: it has been seen"}, true
	case "privatekey", "secretkey":
		return strict.Problem{Code: CodeSecret, Secret: true, Msg: "a private key stands in the file, as " + key + ": expected the name of a file that holds it",
			Hint: "write key: FILE, and make a new key: this one has been seen"}, true
	}
	return strict.Problem{}, false
}

// plainKey is a key without case, "-" and "_".
func plainKey(key string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(key))
}

// Line returns the line of a meter.
func (s *Site) Line(m *Meter) *Line {
	i := slices.IndexFunc(s.Lines, func(l Line) bool { return string(l.Name) == m.Line })
	if i < 0 {
		return nil
	}
	return &s.Lines[i]
}
