package configs

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
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
func (c *checker) site(s *Site, profiles Profiles) {
	c.path(&s.Buffer.Directory)
	if s.Key == "" && !c.at.Has(&s.Key) {
		s.Key = filepath.Join(s.Buffer.Directory, DefaultKeyFile)
	}
	c.path(&s.Key)
	if q := &s.Buffer.Quota; *q < MinQuota || *q > MaxQuota {
		c.fault(q, CodeSize, "", "quota: %s is outside %s to %s", *q, Size(MinQuota), Size(MaxQuota))
	}
	c.between("sync_interval", &s.Buffer.SyncInterval, CodeTime, MinSync, MaxSync)
	if s.Buffer.Retention != 0 {
		c.between("retention", &s.Buffer.Retention, CodeTime, MinRetention, MaxRetention)
	}
	window := c.between("window", &s.Window, CodeWindow, MinWindow, MaxWindow)

	c.channels(&s.Channels, nil)
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
		if serial && !c.at.Has(&l.Serial) {
			l.Serial.UnmarshalText([]byte(DefaultSettings))
		}
		c.portUsed(l, ports)
	}
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
		line    string
		address int
	}
	stations := make(map[station]*Meter)
	speaks := make(map[string]*Meter) // the first meter of each TCP line
	used := make(map[string]bool)
	for i := range s.Meters {
		m := &s.Meters[i]
		taken(string(m.Name), &m.Name)
		c.profile(m, profiles)
		line := c.lineOf(s, m)
		if line != nil {
			used[m.Line] = true
			c.protocol(m, line, speaks)
		}
		if c.address(m) && line != nil {
			at := station{m.Line, m.Address}
			if first := stations[at]; first != nil {
				p := c.at.Of(&first.Address)
				c.fault(&m.Address, CodeOverlap, "each meter on a line needs an address of its own; look at both meters",
					"address %d on line %s is meter %s already, at line %d column %d", m.Address, m.Line, first.Name, p.Line, p.Col)
			} else {
				stations[at] = m
			}
		}
		if c.between("interval", &m.Interval, CodeInterval, MinInterval, MaxInterval) && window {
			c.slots(m, s)
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

func (c *checker) profile(m *Meter, profiles Profiles) {
	if !c.count(len(m.Quantities), MaxQuantities, "quantities", &m.Quantities) {
		return
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
		return
	}
	quantities, ok := profiles[m.Profile]
	if !ok {
		var ids []string
		for id := range profiles {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		c.fault(&m.Profile, CodeProfile, suggestion(m.Profile, ids, "profiles"), "profile %s is not known", quote(m.Profile))
		return
	}
	for i, q := range m.Quantities {
		if !slices.Contains(quantities, q) && c.at.Has(&m.Quantities[i]) {
			c.fault(&m.Quantities[i], CodeQuantity, suggestion(q, quantities, "quantities of "+m.Profile), "profile %s has no quantity %s", m.Profile, quote(q))
		}
	}
}

// protocol checks that the line can carry what the meter speaks.
func (c *checker) protocol(m *Meter, l *Line, speaks map[string]*Meter) {
	if (l.Port == "") == (l.TCP == "") {
		return // reported with the line
	}
	given := c.at.Has(&m.Protocol)
	if !given && l.Port != "" {
		m.Protocol = ModbusRTU
	}
	switch {
	case !given && l.TCP != "":
		if !c.at.Sound(m) {
			return
		}
		c.fault(m, CodeProtocol, "write protocol: modbus-tcp for a meter with a network socket, or modbus-rtu for one behind a serial server",
			"meter %s is on a TCP line and names no protocol", m.Name)
	case given && !slices.Contains(protocols(), string(m.Protocol)):
		c.fault(&m.Protocol, CodeProtocol, suggestion(string(m.Protocol), protocols(), "protocols"), "protocol %s is not known", quote(string(m.Protocol)))
	case m.Protocol == ModbusTCP && l.Port != "":
		c.fault(&m.Protocol, CodeProtocol, "write modbus-rtu, or put the meter on a TCP line", "modbus-tcp cannot be spoken on the serial line %s", l.Name)
	case m.Protocol == ModbusRTU && l.Port != "" && l.Serial.DataBits == 7:
		c.fault(&m.Line, CodeSettings, "write serial: with 8 data bits, as in "+DefaultSettings, "modbus-rtu needs 8 data bits, line %s has %s", l.Name, l.Serial)
	case l.TCP != "":
		first := speaks[m.Line]
		if first == nil {
			speaks[m.Line] = m
		} else if first.Protocol != m.Protocol {
			c.fault(&m.Protocol, CodeProtocol, "all meters of one connection speak the same", "meter %s speaks %s and meter %s on the same line %s", m.Name, m.Protocol, first.Name, first.Protocol)
		}
	}
}

// address checks the unit number: 1 to 247 on a serial bus, where 0 is the
// broadcast; 0 to 255 over Modbus TCP, where devices without a bus behind them
// use 0, 1 or 255 (Modbus Messaging on TCP/IP V1.0b, section 4.4.2.4).
func (c *checker) address(m *Meter) bool {
	if !c.at.Has(&m.Address) {
		return false
	}
	lo, hi := 1, 247
	if m.Protocol == ModbusTCP {
		lo, hi = 0, 255
	}
	if m.Address < lo || m.Address > hi {
		c.fault(&m.Address, CodeAddress, "the meter's menu shows it, often as Addr or ID", "address: %d is outside %d to %d", m.Address, lo, hi)
		return false
	}
	return true
}

// channels checks a list of channel names. allowed is what the site reads, nil
// for any.
func (c *checker) channels(list *[]Channel, allowed []Channel) {
	var all []string
	for _, ch := range AllChannels() {
		all = append(all, string(ch))
	}
	if !c.at.Sound(list) || !c.count(len(*list), 4*len(all), "channels", list) {
		return
	}
	c.some(len(*list), "channel", list)
	for i, ch := range *list {
		at := &(*list)[i]
		switch {
		case !slices.Contains(all, string(ch)):
			c.fault(at, CodeChannel, suggestion(string(ch), all, "channels"), "channel %s is not known", quote(string(ch)))
		case slices.Contains((*list)[:i], ch):
			c.fault(at, CodeChannel, "remove one of them", "channel %s is listed twice", ch)
		case allowed != nil && !slices.Contains(allowed, ch):
			c.fault(at, CodeShare, "add it to channels, or remove it here", "channel %s is shared, but not among the channels of this site", ch)
		}
	}
}
