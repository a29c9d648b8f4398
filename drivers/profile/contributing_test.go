package profile

import (
	"os"
	"strings"
	"testing"
)

// What CONTRIBUTING.md tells a contributor to write works as it stands there.
func TestContributing(t *testing.T) {
	b, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(b), "\n## Add a device profile\n")
	section, _, _ = strings.Cut(section, "\n## ")
	content := block(t, section, "yaml")
	text := block(t, section, "text")

	l := Builtin()
	if err := l.AddDir(write(t, map[string]string{"acme-m1.yaml": content})); err != nil {
		t.Fatal(err)
	}
	p, err := l.Get("acme-m1")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range replay(p, "acme-m1.txt", text) {
		t.Error(f)
	}
	root := readSchema(t)
	for _, f := range root.faults(fromYAML(t, []byte(content))) {
		t.Error(f)
	}
	request, _, _ := strings.Cut(text[strings.Index(text, "> ")+2:], "\n")
	if strings.Count(section, request) != 2 {
		t.Errorf("the request is not the same in every step: %s", request)
	}
}

// block is the first fenced block of a language in text, without the
// indentation of the list it stands in.
func block(t *testing.T, text, language string) string {
	t.Helper()
	before, rest, ok := strings.Cut(text, "```"+language+"\n")
	if !ok {
		t.Fatalf("no block of %s", language)
	}
	indent := before[strings.LastIndex(before, "\n")+1:]
	body, _, _ := strings.Cut(rest, indent+"```")
	var lines []string
	for _, line := range strings.Split(body, "\n") {
		lines = append(lines, strings.TrimPrefix(line, indent))
	}
	return strings.Join(lines, "\n")
}
