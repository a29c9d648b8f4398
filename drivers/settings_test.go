package drivers

import (
	"strings"
	"testing"
	"time"
)

func TestParseSettings(t *testing.T) {
	for in, want := range map[string]Settings{
		"9600-8N1":     {Baud: 9600, DataBits: 8, Parity: 'N', StopBits: 1},
		"9600 8N1":     {Baud: 9600, DataBits: 8, Parity: 'N', StopBits: 1},
		"19200 8e1":    {Baud: 19200, DataBits: 8, Parity: 'E', StopBits: 1},
		" 2400  7O2 ":  {Baud: 2400, DataBits: 7, Parity: 'O', StopBits: 2},
		"115200 8N2\n": {Baud: 115200, DataBits: 8, Parity: 'N', StopBits: 2},
	} {
		got, err := ParseSettings(in)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", in, got, err, want)
		}
		if again, err := ParseSettings(got.String()); err != nil || again != got {
			t.Errorf("%q does not survive String: %v, %v", in, again, err)
		}
	}
	for in, want := range map[string]string{
		"":            `speed "" is not a number`,
		"9600":        `"" is not three characters`,
		"fast 8N1":    `speed "fast" is not a number`,
		"9600 8N1 x":  `"8N1 X" is not three characters`,
		"10 8N1":      "speed 10 is outside 50 to 4000000",
		"9999999 8N1": "speed 9999999 is outside",
		"9600-":       `"" is not three characters`,
		"9600 9N1":    `data bits "9", expected 7 or 8`,
		"9600 8X1":    `parity "X", expected N, E or O`,
		"9600 8N3":    `stop bits "3", expected 1 or 2`,
	} {
		_, err := ParseSettings(in)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "as in 9600 8N1") {
			t.Errorf("%q: %v; want ...%s...", in, err, want)
		}
	}
}

func TestCharacterTimes(t *testing.T) {
	for _, c := range []struct {
		settings           string
		character, silence time.Duration
	}{
		{"9600 8N1", 1041666, 4010416},
		{"9600 8E1", 1145833, 4010416},
		{"19200 8E1", 572916, 2005208},
		{"38400 8N1", 260416, 1750000},
		{"300 7O2", 36666666, 128333333},
	} {
		s, err := ParseSettings(c.settings)
		if err != nil {
			t.Fatal(err)
		}
		if s.Characters(1) != c.character || s.Silence() != c.silence {
			t.Errorf("%s: character %d ns, silence %d ns; want %d, %d", c.settings, s.Characters(1), s.Silence(), c.character, c.silence)
		}
	}
}
