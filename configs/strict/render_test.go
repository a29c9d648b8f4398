package strict_test

import (
	"strings"
	"testing"

	"github.com/tallystick/tallystick/configs/strict"
)

func TestRender(t *testing.T) {
	text := "\ufeffsite: {name: a, label: 示范一厂, nam: b}\r\n" +
		"lines:\r\n" +
		"  - {name: a, speed: secret, qqq: 1}\r\n" +
		"password: geheim\r\n" +
		"notes: {a: 1, b: 2, c: 3, d: 4, e: 5, f: 6, g: 7, h: 8, i: 9, j: 10, k: 11, l: 12, m: x, n: 14, o: 15}\r\n"
	const want = `f:1:30: E-107 unknown key "nam" in site
    1 | site: {name: a, label: 示范一厂, nam: b}
      |                                  ^
      → did you mean "name"?
f:3:22: E-199 speed: not a speed
    3 | (not shown: the line holds a secret)
      → write slow
f:3:30: E-107 unknown key "qqq" in this entry of lines
    3 | (not shown: the line holds a secret)
      → allowed here: name, port, unit, offset, interval, on, tags, speed, pair
f:4:1: E-107 unknown key "password"
    4 | (not shown: the line holds a secret)
      → did you mean "password_file"?
f:5:87: E-110 m: expected a whole number, found the text "x"
    5 | …i: 9, j: 10, k: 11, l: 12, m: x, n: 14, o: 15}
      |                                ^
      → write it as in m: 7
`
	var f factory
	var b strings.Builder
	if err := strict.Render(&b, []byte(text), strict.Decode("f", []byte(text), &f)); err != nil {
		t.Fatal(err)
	}
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// A fault about the file as a whole, and one that points past its end, have no
// source line.
func TestRenderWithoutLine(t *testing.T) {
	var b strings.Builder
	err := strict.Render(&b, nil, []strict.Fault{{File: "f", Code: "E-102", Msg: "m", Hint: "h"}, {File: "f", Line: 9, Col: 9, Code: "E-104", Msg: "m"}})
	if want := "f: E-102 m\n      → h\nf:9:9: E-104 m\n"; err != nil || b.String() != want {
		t.Errorf("got %q, %v", b.String(), err)
	}
}
