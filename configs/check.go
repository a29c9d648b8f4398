package configs

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/configs/strict"
)

// checker holds what the reading of one file has found so far.
type checker struct {
	name     string // of the file, in messages
	file     File
	at       *strict.Positions
	base     string // directory relative paths start at
	faults   []strict.Fault
	warnings []strict.Fault
}

func decode(path string, data []byte, dst any) *checker {
	at, faults := strict.DecodeAt(path, data, dst)
	dir := base(path)
	return &checker{name: path, base: dir, at: at, faults: faults,
		file: File{Path: filepath.Join(dir, filepath.Base(path)), data: data, at: at}}
}

// meaningful reports whether enough was read to look at its meaning: the file
// is a group of keys, and not a wreck with more faults than are listed.
func (c *checker) meaningful(dst any) bool {
	return c.at.Has(dst) && len(c.faults) <= strict.MaxFaults
}

// fault reports what is wrong with a field.
func (c *checker) fault(field any, code, hint, format string, args ...any) {
	c.faults = append(c.faults, c.at.Of(field).Fault(strict.Problem{Code: code, Msg: fmt.Sprintf(format, args...), Hint: hint}))
}

func (c *checker) warn(field any, code, hint, format string, args ...any) {
	c.warnings = append(c.warnings, c.at.Of(field).Fault(strict.Problem{Code: code, Msg: fmt.Sprintf(format, args...), Hint: hint}))
}

// names returns a function that reports a name given a second time.
func (c *checker) names(kind string) func(name string, field any) {
	first := make(map[string]any)
	return func(name string, field any) {
		if !c.at.Has(field) {
			return
		}
		if f, ok := first[name]; ok {
			p := c.at.Of(f)
			c.fault(field, CodeTaken, "give one of the two another name", "%s name %q is taken, first at line %d column %d", kind, name, p.Line, p.Col)
			return
		}
		first[name] = field
	}
}

// count reports a list that is too long to look at its entries.
func (c *checker) count(n, most int, what string, field any) bool {
	if n > most {
		c.fault(field, CodeTooMany, "", "%d %s are listed, at most %d are read", n, what, most)
		return false
	}
	return true
}

// some reports a list that was given and is empty.
func (c *checker) some(n int, what string, field any) {
	if n == 0 && c.at.Has(field) {
		c.fault(field, strict.CodeMissing, "see configs/examples", "the list is empty, expected at least one %s", what)
	}
}

// between reports a duration outside its limits or not of whole milliseconds.
func (c *checker) between(key string, d *time.Duration, code string, lo, hi time.Duration) bool {
	if *d < lo || *d > hi {
		c.fault(d, code, "", "%s: %s is outside %s to %s", key, written(*d), written(lo), written(hi))
		return false
	}
	if *d%time.Millisecond != 0 {
		c.fault(d, code, "", "%s: %s is not a whole number of milliseconds", key, written(*d))
		return false
	}
	return true
}

// written is a duration as people write it: "10m" and not "10m0s".
func written(d time.Duration) string {
	const day = 24 * time.Hour
	if d != 0 && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

// path makes a path absolute. An empty one stays empty unless it was written.
func (c *checker) path(p *string) {
	switch {
	case *p == "" && !c.at.Has(p):
		return
	case *p == "":
		c.fault(p, CodePath, "name a file, or leave the key out", "the path is empty")
	case strings.HasPrefix(*p, "~"):
		c.fault(p, CodePath, "write the whole path, beginning with /", "~ is not replaced by a home directory here")
	case strings.ContainsFunc(*p, func(r rune) bool { return r < ' ' }):
		c.fault(p, CodePath, "", "a control character stands in the path")
	case !filepath.IsAbs(*p):
		*p = filepath.Join(c.base, *p)
	default:
		*p = filepath.Clean(*p)
	}
}

// site checks the meaning of a site file.
func (c *checker) site(s *Site, known func(dir string) (Profiles, error)) {
	c.path(&s.Profiles)
	var profiles Profiles // nil: their names are not checked
	if known != nil {
		var err error
		if profiles, err = known(s.Profiles); err != nil {
			c.fault(&s.Profiles, CodeProfiles, "see what is wrong: tallystick profile check FILE", "profiles: %v", err)
		}
	}
	c.path(&s.Buffer.Directory)
	if s.Key == "" && !c.at.Has(&s.Key) {
		s.Key = filepath.Join(s.Buffer.Directory, DefaultKeyFile)
	}
	c.path(&s.Key)
	c.path(&s.Witnesses)
	c.signing(&s.Signing)
	if q := &s.Buffer.Quota; *q < MinQuota || *q > MaxQuota {
		c.fault(q, CodeSize, "", "quota: %s is outside %s to %s", *q, Size(MinQuota), Size(MaxQuota))
	}
	c.between("sync_interval", &s.Buffer.SyncInterval, CodeTime, MinSync, MaxSync)
	if s.Buffer.Retention != 0 {
		c.between("retention", &s.Buffer.Retention, CodeTime, MinRetention, MaxRetention)
	}
	window := c.between("window", &s.Window, CodeWindow, MinWindow, MaxWindow)

	c.channels(&s.Channels, nil)
	c.made(s, window)
	lines := c.count(len(s.Lines), MaxLines, "lines", &s.Lines)
	meters := c.count(len(s.Meters), MaxMeters, "meters", &s.Meters)
	if lines && meters {
		c.lines(s)
		c.meters(s, profiles, window)
	}
	if c.count(len(s.Lenders), MaxLenders, "lenders", &s.Lenders) {
		c.lenders(s)
	}
}

// signing checks that suite and place of the key go together.
func (c *checker) signing(g *Signing) {
	for _, p := range []*string{&g.TPM, &g.PKCS11.Module, &g.PKCS11.PINFile} {
		c.path(p)
	}
	chip := g.TPM != "" || g.PKCS11.Module != ""
	if g.Suite == "" && chip {
		g.Suite = ES256
	}
	switch {
	case g.Suite != "" && !slices.Contains([]Suite{Ed25519, ES256, SM2}, g.Suite):
		c.fault(&g.Suite, CodeSigning, "write ed25519, es256 (also for a TPM or token) or sm2", "suite: expected ed25519, es256 or sm2, found %s", quote(string(g.Suite)))
	case chip && g.Suite != ES256:
		c.fault(&g.Suite, CodeSigning, "write suite: es256, or keep the key in a file", "suite: a TPM or token signs with es256, found %s", g.Suite)
	case g.TPM != "" && g.PKCS11.Module != "":
		c.fault(&g.PKCS11, CodeSigning, "remove one of them", "the key lives in one place, found both tpm and pkcs11")
	case (g.PKCS11.Module == "") != (g.PKCS11.Token == ""):
		c.fault(&g.PKCS11, CodeSigning, "give module: the vendor's library, and token: the token's label", "pkcs11: module and token go together")
	case g.Counter != 0 && g.TPM == "":
		c.fault(&g.Counter, CodeSigning, "add tpm: /dev/tpmrm0, or remove the key", "counter: counts in a TPM, and none is named")
	}
	if g.TPM != "" && g.Counter == 0 {
		g.Counter = DefaultCounter
	}
}

func (c *checker) lines(s *Site) {
	c.some(len(s.Lines), "line", &s.Lines)
	taken := c.names("line")
	ports := make(map[string]*Line)
	for i := range s.Lines {
		l := &s.Lines[i]
		taken(string(l.Name), &l.Name)
		serial, tcp := c.at.Has(&l.Port), c.at.Has(&l.TCP)
		switch {
		case serial && tcp:
			c.fault(&l.TCP, CodePort, "remove one of them", "a line is a serial port or a TCP connection, found both port and tcp")
		case tcp && c.at.Has(&l.Serial):
			c.fault(&l.Serial, CodeSettings, "remove the key", "serial settings of a TCP line are set in the serial server, not here")
		case serial && !portForm.MatchString(l.Port):
			c.fault(&l.Port, CodePort, "write the whole path; the fixed names are in /dev/serial/by-id", "port: expected a device such as /dev/ttyUSB0, found %s", quote(l.Port))
			continue
		case !serial && !tcp:
			if c.at.Sound(l) {
				c.fault(l, CodePort, "write port: /dev/ttyUSB0 or tcp: 192.168.1.50:4001", "the line has neither port nor tcp")
			}
			continue
		}
		if c.at.Has(&l.RS485) {
			c.rs485(l)
		}
		if serial && !c.at.Has(&l.Serial) {
			l.Serial.UnmarshalText([]byte(DefaultSettings))
		}
		c.portUsed(l, ports)
	}
}

func (c *checker) rs485(l *Line) {
	r := &l.RS485
	if l.Port == "" {
		c.fault(r, CodeSettings, "remove the key", "the direction of a TCP line is switched by the serial server, not here")
		return
	}
	if r.RTSOnSend != High && r.RTSOnSend != Low {
		c.fault(&r.RTSOnSend, CodeSettings, "the box's manual says which", "rts_on_send: expected high or low, found %s", quote(string(r.RTSOnSend)))
	}
	c.between("delay_before", &r.DelayBefore, CodeSettings, 0, MaxRTSDelay)
	c.between("delay_after", &r.DelayAfter, CodeSettings, 0, MaxRTSDelay)
}

// portForm is an absolute path, or a port of Windows.
var portForm = regexp.MustCompile(`^(/[^\x00-\x1f]+|COM[0-9]{1,3})$`)

// portUsed reports a port that another line has; two names of one device are
// the same port.
func (c *checker) portUsed(l *Line, ports map[string]*Line) {
	key, field := string(l.TCP), any(&l.TCP)
	if l.Port != "" {
		key, field = filepath.Clean(l.Port), any(&l.Port)
		if device, err := filepath.EvalSymlinks(key); err == nil {
			key = device
		}
	}
	first, used := ports[key]
	if !used {
		ports[key] = l
		return
	}
	p := c.at.Of(&first.Port, &first.TCP)
	settings := ""
	if l.Serial != first.Serial {
		settings = fmt.Sprintf(" and with other settings (%s there, %s here)", first.Serial, l.Serial)
	}
	c.fault(field, CodePortUsed, "put the meters of one port on one line", "%s is used by line %s already, at line %d column %d%s", key, first.Name, p.Line, p.Col, settings)
}

func (c *checker) meters(s *Site, profiles Profiles, window bool) {
	c.some(len(s.Meters), "meter", &s.Meters)
	taken := c.names("meter")
	type station struct {
		line, protocol string
		address        MeterAddress
	}
	stations := make(map[station]*Meter)
	speaks := make(map[string]*Meter) // the first meter of each TCP line
	used := make(map[string]bool)
	for i := range s.Meters {
		m := &s.Meters[i]
		taken(string(m.Name), &m.Name)
		of := c.profile(m, profiles).Protocol
		line := c.lineOf(s, m)
		if line != nil {
			used[m.Line] = true
			c.protocol(m, line, of, speaks)
		}
		if c.address(m) && line != nil {
			at := station{m.Line, kin(m.Protocol), m.Address}
			if first := stations[at]; first != nil {
				p := c.at.Of(&first.Address)
				c.fault(&m.Address, CodeOverlap, "each meter on a line needs an address of its own; look at both meters",
					"address %s on line %s is meter %s already, at line %d column %d", m.Address, m.Line, first.Name, p.Line, p.Col)
			} else {
				stations[at] = m
			}
		}
		if m.RawFrames && c.at.Sound(&s.Channels) && !slices.Contains(s.Channels, Timing) {
			c.fault(&m.RawFrames, CodeRawFrames, "add timing to channels, or remove raw_frames", "raw_frames of meter %s: the channel timing, which says when a frame's reading was taken, is not among the channels of this site", m.Name)
		}
		if c.between("interval", &m.Interval, CodeInterval, MinInterval, MaxInterval) && window {
			c.slots(m, s)
		}
		if c.at.Has(&m.Timeout) {
			c.between("timeout", &m.Timeout, CodeTime, MinTimeout, MaxTimeout)
		}
	}
	for i := range s.Lines {
		if l := &s.Lines[i]; c.at.Has(&l.Name) && !used[string(l.Name)] {
			c.warn(&l.Name, CodeIdleLine, "add a meter with line: "+string(l.Name)+", or remove the line", "no meter is on line %s", l.Name)
		}
	}
}

// slots holds the rule of window and interval.
func (c *checker) slots(m *Meter, s *Site) {
	at := any(&m.Interval)
	if !c.at.Has(at) {
		at = &s.Window
	}
	switch {
	case m.Interval <= s.Window && s.Window%m.Interval != 0, m.Interval > s.Window && m.Interval%s.Window != 0:
		c.fault(at, CodeWindow, "choose an interval that divides the window, or is a multiple of it: "+neighbours(m.Interval, s.Window),
			"the interval of meter %s, %s, does not fit the window of %s", m.Name, written(m.Interval), written(s.Window))
	case s.Window/m.Interval > MaxSlots:
		c.fault(at, CodeWindow, "poll less often, or make the window shorter",
			"%d polls of meter %s fall into one window, at most %d can be sealed", s.Window/m.Interval, m.Name, MaxSlots)
	}
}

// neighbours names the fitting intervals next to one that does not fit.
func neighbours(interval, window time.Duration) string {
	if interval > window {
		n := interval / window
		return written(n*window) + " or " + written((n+1)*window)
	}
	below, above := MinInterval, window
	for n := window / MinInterval; n >= 1; n-- {
		d := window / n
		if window%n != 0 || d%time.Millisecond != 0 || d < MinInterval {
			continue
		}
		if d < interval {
			below = d
		} else {
			above = d
			break
		}
	}
	return written(below) + " or " + written(above)
}

func (c *checker) lineOf(s *Site, m *Meter) *Line {
	if !c.at.Has(&m.Line) {
		return nil
	}
	if l := s.Line(m); l != nil {
		return l
	}
	var names []string
	for _, l := range s.Lines {
		if l.Name == "" {
			return nil // it may be the one meant; its own fault is listed
		}
		names = append(names, string(l.Name))
	}
	c.fault(&m.Line, CodeLine, suggestion(m.Line, names, "lines"), "meter %s is on line %s, which does not exist", m.Name, quote(m.Line))
	return nil
}

// suggestion is the hint for an unknown word: the nearest one, or all.
func suggestion(word string, known []string, what string) string {
	if near, ok := strict.Nearest(word, known); ok {
		return "did you mean " + quote(near) + "?"
	}
	if len(known) == 0 {
		return ""
	}
	const most = 20
	list := strings.Join(known[:min(len(known), most)], ", ")
	if len(known) > most {
		list += fmt.Sprintf(" and %d more", len(known)-most)
	}
	return "the " + what + " are " + list
}

// profile checks the profile of a meter and the quantities read of it, and
// returns it; the zero Profile where nobody knows it.
func (c *checker) profile(m *Meter, profiles Profiles) (p Profile) {
	if !c.count(len(m.Quantities), MaxQuantities, "quantities", &m.Quantities) {
		return p
	}
	if len(m.Quantities) == 0 && c.at.Has(&m.Quantities) {
		c.fault(&m.Quantities, CodeQuantity, "leave the key out to read what the profile reads by default", "the list of quantities is empty")
	}
	for i, q := range m.Quantities {
		if slices.Contains(m.Quantities[:i], q) {
			c.fault(&m.Quantities[i], CodeQuantity, "remove one of them", "quantity %s is listed twice", quote(q))
		}
	}
	if profiles == nil || !c.at.Has(&m.Profile) {
		return p
	}
	if ids := profiles.IDs(); !slices.Contains(ids, m.Profile) {
		c.fault(&m.Profile, CodeProfile, suggestion(m.Profile, ids, "profiles"), "profile %s is not known", quote(m.Profile))
		return p
	}
	p, err := profiles.Profile(m.Profile)
	if err != nil {
		c.fault(&m.Profile, CodeProfiles, "install the program again", "profile %s: %v", m.Profile, err)
		return p
	}
	for i, q := range m.Quantities {
		if !slices.Contains(p.Quantities, q) && c.at.Has(&m.Quantities[i]) {
			c.fault(&m.Quantities[i], CodeQuantity, suggestion(q, p.Quantities, "quantities of "+m.Profile), "profile %s has no quantity %s", m.Profile, quote(q))
		}
	}
	return p
}

// kin is what must not share an address on one line: the framings of Modbus,
// the two editions of DL/T 645.
func kin(p Protocol) string {
	switch {
	case p.Modbus():
		return "modbus"
	case p == DLT645v2007 || p == DLT645v1997:
		return "dlt645"
	}
	return string(p)
}

// protocol checks that the meter's profile, which is of a protocol unless that
// is "", fits what it speaks and that the line can carry it.
func (c *checker) protocol(m *Meter, l *Line, of string, speaks map[string]*Meter) {
	if (l.Port == "") == (l.TCP == "") {
		return // reported with the line
	}
	given := c.at.Has(&m.Protocol)
	if !given {
		switch {
		case of != "" && of != "modbus":
			m.Protocol = Protocol(of)
		case l.Port != "":
			m.Protocol = ModbusRTU
		}
	}
	switch {
	case l.TCP != "" && c.at.Has(&m.Serial):
		c.fault(&m.Serial, CodeSettings, "remove the key", "serial settings of a TCP line are set in the serial server, not here")
		m.Serial = Settings{}
	case !c.at.Has(&m.Serial):
		m.Serial = l.Serial
	}
	switch {
	case m.Protocol == "" && l.TCP != "":
		if !c.at.Sound(m) {
			return
		}
		c.fault(m, CodeProtocol, "write protocol: modbus-tcp for a meter with a network socket, or modbus-rtu for one behind a serial server",
			"meter %s is on a TCP line and names no protocol", m.Name)
	case given && !slices.Contains(protocols(), string(m.Protocol)):
		c.fault(&m.Protocol, CodeProtocol, suggestion(string(m.Protocol), protocols(), "protocols"), "protocol %s is not known", quote(string(m.Protocol)))
	case given && of != "" && !m.Protocol.speaks(of):
		c.fault(&m.Protocol, CodeProtocol, "leave the key out, or choose another profile", "profile %s is for %s, found protocol %s", m.Profile, of, m.Protocol)
	case m.Protocol == ModbusTCP && l.Port != "":
		c.fault(&m.Protocol, CodeProtocol, "write modbus-rtu, or put the meter on a TCP line", "modbus-tcp cannot be spoken on the serial line %s", l.Name)
	case m.Protocol != ModbusASCII && m.Protocol != IEC62056 && l.Port != "" && m.Serial.DataBits == 7:
		c.fault(&m.Line, CodeSettings, "write serial: with 8 data bits, as in "+DefaultSettings, "%s needs 8 data bits, line %s has %s", m.Protocol, l.Name, m.Serial)
	case l.TCP != "":
		first := speaks[m.Line]
		if first == nil {
			speaks[m.Line] = m
		} else if (first.Protocol == ModbusTCP) != (m.Protocol == ModbusTCP) {
			c.fault(&m.Protocol, CodeProtocol, "all meters of one connection speak the same", "meter %s speaks %s and meter %s on the same line %s", m.Name, m.Protocol, first.Name, first.Protocol)
		}
	}
}

// speaks reports whether a profile for a protocol can be read by p.
func (p Protocol) speaks(of string) bool { return string(p) == of || of == "modbus" && p.Modbus() }

// address checks how a meter is called on its line and writes it in full. A
// unit number is 1 to 247 on a serial bus, where 0 is the broadcast; 0 to 255
// over Modbus TCP, where devices without a bus behind them use 0, 1 or 255
// (Modbus Messaging on TCP/IP V1.0b, section 4.4.2.4).
func (c *checker) address(m *Meter) bool {
	if !c.at.Has(&m.Address) {
		return false
	}
	switch m.Protocol {
	case DLT645v2007, DLT645v1997:
		return c.digits(m, 12, "the 12 digits are on the meter's plate, often under a bar code")
	case CJT188:
		return c.digits(m, 14, "the 14 digits are on the meter's plate; the last but four may be the maker's code")
	case IEC62056:
		if !iecAddress.MatchString(string(m.Address)) {
			c.fault(&m.Address, CodeAddress, `write address: "" where the meter is alone on its line`, "address: %s is not up to 32 letters and digits", quote(string(m.Address)))
			return false
		}
		return true
	}
	return c.unit(m)
}

var (
	iecAddress = regexp.MustCompile(`^[0-9A-Za-z ]{0,32}$`) // IEC 62056-21, 6.3.1
	allDigits  = regexp.MustCompile(`^[0-9]+$`)
)

// digits checks an address of n decimal digits.
func (c *checker) digits(m *Meter, n int, hint string) bool {
	a := string(m.Address)
	if !allDigits.MatchString(a) || len(a) > n {
		c.fault(&m.Address, CodeAddress, hint, "address: expected up to %d digits for %s, found %s", n, m.Protocol, quote(a))
		return false
	}
	m.Address = MeterAddress(strings.Repeat("0", n-len(a)) + a)
	return true
}

// unit checks a Modbus unit number.
func (c *checker) unit(m *Meter) bool {
	a := strings.ToLower(string(m.Address))
	digits, base := a, 10
	if h, ok := strings.CutPrefix(a, "0x"); ok {
		digits, base = h, 16
	} else if len(a) > 1 && a[0] == '0' && allDigits.MatchString(a) {
		c.fault(&m.Address, strict.CodeValue, "write it in digits, without a leading zero, or as 0x and hexadecimal digits", "address: %s can be read in two ways", a)
		return false
	}
	n, err := strconv.ParseInt(digits, base, 64)
	if errors.Is(err, strconv.ErrSyntax) {
		c.fault(&m.Address, strict.CodeType, "write it as in address: 7", "address: expected a whole number, found the text %s", quote(string(m.Address)))
		return false
	}
	lo, hi := int64(1), int64(247)
	if m.Protocol == ModbusTCP {
		lo, hi = 0, 255
	}
	if err != nil || n < lo || n > hi {
		c.fault(&m.Address, CodeAddress, "the meter's menu shows it, often as Addr or ID", "address: %s is outside %d to %d", a, lo, hi)
		return false
	}
	m.Address = MeterAddress(strconv.FormatInt(n, 10))
	return true
}

// channels checks a list of channel names. allowed is what the site reads, nil
// for the list that says so.
func (c *checker) channels(list *[]Channel, allowed []Channel) {
	var all []string
	for _, ch := range append(AllChannels(), RawFrames) {
		all = append(all, string(ch))
	}
	if !c.at.Sound(list) || !c.count(len(*list), 4*len(all), "channels", list) {
		return
	}
	c.some(len(*list), "channel", list)
	for i, ch := range *list {
		at := &(*list)[i]
		switch {
		case ch == RawFrames && allowed == nil:
			c.fault(at, CodeRawFrames, "remove it here and write raw_frames: true for each meter meant", "channel %s is switched on meter by meter", ch)
		case !slices.Contains(all, string(ch)):
			c.fault(at, CodeChannel, suggestion(string(ch), all, "channels"), "channel %s is not known", quote(string(ch)))
		case slices.Contains((*list)[:i], ch):
			c.fault(at, CodeChannel, "remove one of them", "channel %s is listed twice", ch)
		case ch == RawFrames && !slices.Contains(allowed, ch):
			c.fault(at, CodeShare, "write raw_frames: true for each meter meant, or remove it here", "channel %s is shared, but no meter of this site has raw_frames", ch)
		case allowed != nil && !slices.Contains(allowed, ch):
			hint := "add it to channels, or remove it here"
			if slices.Equal(allowed, DefaultChannels()) {
				hint = fmt.Sprintf("write channels: %s, or remove it here", strings.ReplaceAll(fmt.Sprint(append(allowed[:len(allowed):len(allowed)], ch)), " ", ", "))
			}
			c.fault(at, CodeShare, hint, "channel %s is shared, but not among the channels of this site", ch)
		}
	}
}

// made checks the channels that are made of others: these are sealed as well,
// and windows divide their periods.
func (c *checker) made(s *Site, window bool) {
	for i, ch := range s.Channels {
		of, at := ch.madeOf(), &s.Channels[i]
		for _, source := range of {
			if !slices.Contains(s.Channels, source) {
				c.fault(at, CodeMade, fmt.Sprintf("add %s to channels: it is sealed, and sent to nobody unless shared", source),
					"channel %s is made of %s, which is not among the channels of this site", ch, source)
			}
		}
		if of != nil && window && Quarter%s.Window != 0 {
			c.fault(at, CodeWindow, "choose a window that divides it, such as "+written(DefaultWindow),
				"the periods of channel %s end on quarters of an hour, which a window of %s does not divide", ch, written(s.Window))
		}
	}
}
