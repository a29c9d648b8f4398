package configs_test

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/configs"
)

type schema struct {
	Ref        string            `json:"$ref"`
	Type       any               `json:"type"`
	Enum       []string          `json:"enum"`
	Pattern    string            `json:"pattern"`
	Additional *bool             `json:"additionalProperties"`
	Required   []string          `json:"required"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	Defs       map[string]schema `json:"$defs"`
}

// Every key of the two files is in schema.json, and no other.
func TestSchema(t *testing.T) {
	b, err := os.ReadFile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var root schema
	if err := json.Unmarshal(b, &root); err != nil {
		t.Fatal(err)
	}
	if root.Ref != "#/$defs/Site" {
		t.Errorf("the schema is of %s", root.Ref)
	}
	used := map[string]bool{}
	var compare func(typ reflect.Type, s schema)
	compare = func(typ reflect.Type, s schema) {
		if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
			if s, ok = root.Defs[name]; !ok {
				t.Errorf("no definition of %s", name)
				return
			}
			used[name] = true
		}
		if typ.Kind() == reflect.Slice {
			if s.Type != "array" || s.Items == nil {
				t.Errorf("%s is no array", typ)
				return
			}
			compare(typ.Elem(), *s.Items)
			return
		}
		if s.Pattern != "" {
			regexp.MustCompile(s.Pattern)
		}
		if s.Properties == nil {
			return
		}
		var keys, required []string
		for _, f := range reflect.VisibleFields(typ) {
			key := f.Tag.Get("yaml")
			if key == "" {
				continue
			}
			keys = append(keys, key)
			if f.Tag.Get("required") == "true" {
				required = append(required, key)
			}
			if p, ok := s.Properties[key]; ok {
				compare(f.Type, p)
			}
		}
		slices.Sort(keys)
		slices.Sort(required)
		slices.Sort(s.Required)
		if got := slices.Sorted(maps.Keys(s.Properties)); !slices.Equal(got, keys) {
			t.Errorf("%s: keys %q in the schema, %q in the program", typ, got, keys)
		}
		if !slices.Equal(s.Required, required) {
			t.Errorf("%s: required %q in the schema, %q in the program", typ, s.Required, required)
		}
		if s.Additional == nil || *s.Additional {
			t.Errorf("%s: the schema allows other keys", typ)
		}
	}
	compare(reflect.TypeFor[configs.Site](), schema{Ref: root.Ref})
	compare(reflect.TypeFor[configs.Watch](), schema{Ref: "#/$defs/Watch"})
	for name := range root.Defs {
		if !used[name] {
			t.Errorf("definition %s is not used", name)
		}
	}
	var channels []string
	for _, c := range configs.AllChannels() {
		channels = append(channels, string(c))
	}
	if got := root.Defs["Channel"].Enum; !slices.Equal(got, channels) {
		t.Errorf("channels %q", got)
	}
}

// Every code of the program is explained in CODES.md, once, and no other.
func TestCodes(t *testing.T) {
	in := func(form string, files ...string) []string {
		var codes []string
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(form).FindAllStringSubmatch(string(b), -1) {
				codes = append(codes, m[1])
			}
		}
		slices.Sort(codes)
		return codes
	}
	program := in(`= "([EW]-[0-9]{3})"`, "codes.go", "strict/fault.go")
	manual := in(`(?m)^\| ([EW]-[0-9]{3}) \|`, "CODES.md")
	if len(program) == 0 || !slices.Equal(program, manual) {
		t.Errorf("program %q\nmanual  %q", program, manual)
	}
}
