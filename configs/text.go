package configs

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tallystick/tallystick/configs/strict"
)

// Name identifies a line or a meter: 1 to 32 of a-z, 0-9, '.', '_' and '-',
// beginning with a letter or digit. It is safe in topics and file names.
type Name string

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,31}$`)

// UnmarshalText accepts a name and nothing else.
func (n *Name) UnmarshalText(b []byte) error {
	if !nameForm.Match(b) {
		return badName(string(b), "a-z, 0-9, '.', '_' and '-'")
	}
	*n = Name(b)
	return nil
}

// LenderName is a Name without '.' and '_': it is a level of MQTT topics
// (uplink/evidence/SPEC.md).
type LenderName string

var lenderForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// UnmarshalText accepts a lender's name and nothing else.
func (n *LenderName) UnmarshalText(b []byte) error {
	if !lenderForm.Match(b) {
		return badName(string(b), "a-z, 0-9 and '-'")
	}
	*n = LenderName(b)
	return nil
}

func badName(s, allowed string) strict.Problem {
	return strict.Problem{Code: CodeName,
		Msg:  fmt.Sprintf("expected a name of 1 to 32 of %s, beginning with a letter or digit, found %s", allowed, quote(s)),
		Hint: cmp.Or(proposal(s), "write a short name here and the full one, in any language, as label")}
}

// proposal makes a name of what was written, or gives up.
func proposal(s string) string {
	name := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(s), "-"), "-")
	if name == "" || len(name) > 32 || strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) {
		return ""
	}
	return "write " + name + ", and the full name as label"
}

// Label is what people call a thing, in any language: one line of up to 64
// characters.
type Label string

// UnmarshalText accepts printable text. Invisible characters are refused: those
// that turn the direction of writing make a list of meters lie.
func (l *Label) UnmarshalText(b []byte) error {
	if n := utf8.RuneCount(b); n > 64 {
		return strict.Problem{Code: CodeName, Msg: fmt.Sprintf("expected at most 64 characters, found %d", n)}
	}
	for _, r := range string(b) {
		if r != ' ' && !unicode.IsGraphic(r) {
			return strict.Problem{Code: CodeName, Msg: fmt.Sprintf("expected printable text, found the character U+%04X", r), Hint: "remove it"}
		}
	}
	*l = Label(b)
	return nil
}

// Zone is a time zone, by its name in the IANA database.
type Zone string

// UnmarshalText accepts the name of a zone whose rules the program has.
func (z *Zone) UnmarshalText(b []byte) error {
	if _, err := Zone(b).Location(); err != nil {
		return strict.Problem{Code: strict.CodeValue, Msg: fmt.Sprintf("%s is not the name of a time zone", quote(string(b))),
			Hint: "write " + DefaultTimezone + ", or another name of the IANA database such as Asia/Urumqi or Europe/Berlin"}
	}
	*z = Zone(b)
	return nil
}

// Location is the zone with its rules.
func (z Zone) Location() (*time.Location, error) {
	if z == "" || z == "Local" { // names of package time, not of the database
		return nil, fmt.Errorf("%q is not the name of a time zone", string(z))
	}
	return time.LoadLocation(string(z))
}

// Day is a calendar day, as 2026-03-01; "" is none. Days compare like their text.
type Day string

// UnmarshalText accepts a day that exists.
func (d *Day) UnmarshalText(b []byte) error {
	if _, err := time.Parse(time.DateOnly, string(b)); err != nil {
		return strict.Problem{Code: CodeTime, Msg: fmt.Sprintf("expected a day such as 2026-03-01, found %s", quote(string(b)))}
	}
	*d = Day(b)
	return nil
}

// Begin is when the day begins in a zone, the zero time for none.
func (d Day) Begin(zone *time.Location) time.Time {
	t, err := time.ParseInLocation(time.DateOnly, string(d), zone)
	if err != nil {
		return time.Time{}
	}
	return t
}

// End is when the day is over in a zone, the zero time for none.
func (d Day) End(zone *time.Location) time.Time {
	if t := d.Begin(zone); !t.IsZero() {
		return t.AddDate(0, 0, 1)
	}
	return time.Time{}
}

// MeterAddress is how a meter is called on its line, as its plate or menu
// shows it: a unit number in decimal for Modbus, 12 digits for DL/T 645, 14 for
// CJ/T 188, letters and digits or nothing for IEC 62056-21. LoadSite writes it
// in full: leading zeros are there, hexadecimal numbers are not.
type MeterAddress string

// UnmarshalText takes any scalar as it is written; what it may be depends on
// the meter's protocol.
func (a *MeterAddress) UnmarshalText(b []byte) error {
	*a = MeterAddress(b)
	return nil
}

// Settings are those of a serial port.
type Settings struct {
	Baud     int
	DataBits int  // 7 or 8
	Parity   byte // 'N', 'E' or 'O'
	StopBits int  // 1 or 2
}

var settingsForm = regexp.MustCompile(`^([0-9]{2,7}) +([78])([NEOneo])([12])$`)

// UnmarshalText reads "9600 8N1".
func (s *Settings) UnmarshalText(b []byte) error {
	m := settingsForm.FindStringSubmatch(strings.TrimSpace(string(b)))
	if m == nil {
		return strict.Problem{Code: CodeSettings,
			Msg:  "expected speed, data bits, parity and stop bits such as 9600 8N1, found " + quote(string(b)),
			Hint: "the meter's manual or its menu shows them; most meters leave the factory with 9600 8N1"}
	}
	baud, _ := strconv.Atoi(m[1]) // at most seven digits
	if baud < 50 || baud > 4_000_000 {
		return strict.Problem{Code: CodeSettings, Msg: fmt.Sprintf("expected a speed of 50 to 4000000, found %d", baud)}
	}
	*s = Settings{baud, int(m[2][0] - '0'), strings.ToUpper(m[3])[0], int(m[4][0] - '0')}
	return nil
}

// String is what UnmarshalText reads.
func (s Settings) String() string {
	return fmt.Sprintf("%d %d%c%d", s.Baud, s.DataBits, s.Parity, s.StopBits)
}

// Size is a number of bytes.
type Size int64

// The units of sizes, decimal ones as on the label of a disk.
const (
	KB  Size = 1000
	MB       = 1000 * KB
	GB       = 1000 * MB
	KiB Size = 1024
	MiB      = 1024 * KiB
	GiB      = 1024 * MiB
)

var sizeUnits = map[string]Size{"B": 1, "KB": KB, "MB": MB, "GB": GB, "KIB": KiB, "MIB": MiB, "GIB": GiB}

// UnmarshalText reads "256MB", "1 GiB".
func (z *Size) UnmarshalText(b []byte) error {
	s := string(b)
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	unit := sizeUnits[strings.ToUpper(strings.TrimSpace(s[digits:]))]
	if err != nil || unit == 0 || n > int64(1<<62/unit) {
		return strict.Problem{Code: CodeSize, Msg: "expected a size such as 256MB, found " + quote(s), Hint: "the units are kB, MB, GB, KiB, MiB and GiB"}
	}
	*z = Size(n) * unit
	return nil
}

// String is the shortest that UnmarshalText reads back.
func (z Size) String() string {
	for _, u := range []struct {
		name string
		size Size
	}{{"GiB", GiB}, {"GB", GB}, {"MiB", MiB}, {"MB", MB}, {"KiB", KiB}, {"kB", KB}} {
		if z != 0 && z%u.size == 0 {
			return strconv.FormatInt(int64(z/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(z), 10) + "B"
}

// quote puts what the user wrote between quotation marks, shortened.
func quote(s string) string {
	if r := []rune(s); len(r) > 40 {
		s = string(r[:40]) + "…"
	}
	return strconv.Quote(s)
}
