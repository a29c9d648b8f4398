package strict_test

import (
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tallystick/tallystick/configs/strict"
)

// Any bytes give a struct or faults, each fault inside the file, never a panic.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"site: {name: a}\nlines:\n  - {name: b, unit: 1, interval: 10s, tags: [x], pair: [a, 1]}\n",
		"site:\n\tname: demo\n", "site:\n  name demo\n  label: x\n", "a: &a [*a]\n", "a: 'b\n", "a: {b: [c\n", "%YAML 1.2\n---\na: !x b\n",
		"? a\n: b\n", "a: |\n  b\n c\n", "a: \"\\x\"\n", "- - - a\n", "\ufeffa: b\r\nc\r\n", "a: b\n...\nc", "s\x00i\x00t\x00e\x00", "<<: {a: b}\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var dst factory
		faults := strict.Decode("f", data, &dst)
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 1 +
			strings.Count(string(data), "\u0085") + strings.Count(string(data), "\u2028") + strings.Count(string(data), "\u2029")
		for _, fault := range faults {
			if fault.Line < 0 || fault.Line > lines || fault.Line > 0 && fault.Col < 1 || fault.Code == "" || fault.Msg == "" {
				t.Errorf("%+v in %d lines", fault, lines)
			}
			if s := fault.String(); !utf8.ValidString(s) || strings.ContainsAny(s, "\n\r") {
				t.Errorf("%q is not one line of text", s)
			}
		}
		if len(faults) == 0 && dst.Site == nil {
			t.Error("the required key is missing and nothing was said")
		}
		if err := strict.Render(io.Discard, data, faults); err != nil {
			t.Error(err)
		}
	})
}
