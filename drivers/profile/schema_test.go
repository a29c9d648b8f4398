package profile

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// schema is the part of JSON Schema (draft 2020-12) that schema.json uses; a
// keyword that is not here is a fault of the file.
type schema struct {
	Schema      string            `json:"$schema"`
	Title       string            `json:"title"`
	Description string            `json:"description"`
	Default     any               `json:"default"`
	Ref         string            `json:"$ref"`
	Type        string            `json:"type"`
	Const       any               `json:"const"`
	Enum        []any             `json:"enum"`
	Pattern     string            `json:"pattern"`
	Minimum     *float64          `json:"minimum"`
	Maximum     *float64          `json:"maximum"`
	Above       *float64          `json:"exclusiveMinimum"`
	Additional  *bool             `json:"additionalProperties"`
	Required    []string          `json:"required"`
	Properties  map[string]schema `json:"properties"`
	Items       *schema           `json:"items"`
	If          *schema           `json:"if"`
	Then        *schema           `json:"then"`
	Else        *schema           `json:"else"`
	Defs        map[string]schema `json:"$defs"`
}

func readSchema(t *testing.T) schema {
	t.Helper()
	f, err := os.Open("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	var s schema
	if err := d.Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// faults says what is wrong with v, as decoded from YAML.
func (root *schema) faults(v any) (list []string) {
	var visit func(at string, s schema, v any)
	visit = func(at string, s schema, v any) {
		add := func(format string, args ...any) { list = append(list, at+": "+fmt.Sprintf(format, args...)) }
		if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
			visit(at, root.Defs[name], v)
		}
		number, isNumber := toFloat(v)
		text, isText := v.(string)
		object, isObject := v.(map[string]any)
		array, isArray := v.([]any)
		_, isBool := v.(bool)
		if fits, ok := map[string]bool{"": true, "string": isText, "number": isNumber, "object": isObject, "array": isArray, "boolean": isBool,
			"integer": isNumber && new(big.Float).SetFloat64(number).IsInt()}[s.Type]; !ok || !fits {
			add("%v (%T) is no %s", v, v, s.Type)
			return
		}
		same := func(w any) bool {
			if n, ok := toFloat(w); ok && isNumber {
				return n == number
			}
			return reflect.DeepEqual(v, w)
		}
		if s.Const != nil && !same(s.Const) || s.Enum != nil && !slices.ContainsFunc(s.Enum, same) {
			add("%v is not one of %v", v, s.Enum)
		}
		if isText && s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(text) {
			add("%q does not match %s", text, s.Pattern)
		}
		if isNumber && (s.Minimum != nil && number < *s.Minimum || s.Maximum != nil && number > *s.Maximum || s.Above != nil && number <= *s.Above) {
			add("%v is out of bounds", v)
		}
		for _, key := range s.Required {
			if _, ok := object[key]; isObject && !ok {
				add("%s is missing", key)
			}
		}
		for key, e := range object {
			if p, ok := s.Properties[key]; ok {
				visit(at+"."+key, p, e)
			} else if s.Additional != nil && !*s.Additional {
				add("unknown key %s", key)
			}
		}
		for i, e := range array {
			if s.Items != nil {
				visit(fmt.Sprintf("%s[%d]", at, i), *s.Items, e)
			}
		}
		if s.If != nil {
			before := len(list)
			visit(at, *s.If, v)
			branch := s.Then
			if len(list) > before {
				list, branch = list[:before], s.Else
			}
			visit(at, *branch, v)
		}
	}
	visit("profile", *root, v)
	return list
}

func toFloat(v any) (float64, bool) {
	switch n := v.(type) {
	case int:
		return float64(n), true
	case uint64:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}

func fromYAML(t *testing.T, b []byte) any {
	t.Helper()
	var v map[string]any
	if err := yaml.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// Every profile shipped, and every example, is what the schema says.
func TestSchemaAcceptsProfiles(t *testing.T) {
	root := readSchema(t)
	files, err := filepath.Glob("data/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range root.faults(fromYAML(t, b)) {
			t.Errorf("%s: %s", file, f)
		}
	}
	for _, text := range []string{sound, named} {
		for _, f := range root.faults(fromYAML(t, []byte(text))) {
			t.Errorf("%s", f)
		}
	}
}

// What the program refuses for its form, the schema refuses as well.
func TestSchemaRefuses(t *testing.T) {
	root := readSchema(t)
	for _, c := range []struct{ from, old, new string }{
		{sound, "vendor: Acme", "vendor: Acme\nbaud: 9600"},
		{sound, "en: Acme", "en: Acme, fr: Acme"},
		{sound, "kind: voltage", "kind: voltage, scale: 1"},
		{sound, "from: 0x0000", "from: 0x0000, count: 3"},
		{sound, "unit: V,", "unit: V, bits: 3,"},
		{sound, "sources", "identity: {adress: 3}\nsources"},
		{sound, "vendor: Acme\n", ""},
		{sound, "unit: 1\n", ""},
		{sound, "unit: 1\n", "unit: 248\n"},
		{sound, "type: float32", "type: float16"},
		{sound, "table: input, type", "table: inputs, type"},
		{sound, "resolution: 0.1", "resolution: 0.5"},
		{sound, "9600 8N1", "9600"},
		{sound, "id: acme-m3", "id: Acme M3"},
		{sound, "class: meter", "class: metre"},
		{sound, "address: 0x0000", "address: 0x10000"},
		{sound, "quantity: voltage_l1", "quantity: Voltage"},
		{named, "unit: m3", "unit: m3, kind: volume"},
		{named, "protocol: cjt188", "protocol: cjt"},
		{named, `id: "901F", unit`, "id: 9010, unit"},
		{named, "digits: 8", "digits: 0"},
		{named, "max_rate: 100", "max_rate: 0"},
	} {
		changed := strings.Replace(c.from, c.old, c.new, 1)
		if changed == c.from {
			t.Fatalf("%q is not there", c.old)
		}
		if list := root.faults(fromYAML(t, []byte(changed))); len(list) == 0 {
			t.Errorf("%s is accepted", c.new)
		}
		if _, err := Parse("f", []byte(changed)); err == nil && c.new != "id: 9010, unit" {
			t.Errorf("%s is accepted by the program alone", c.new)
		}
	}
	items := strings.Index(named, "items:")
	if list := root.faults(fromYAML(t, []byte(named[:items]+"sources: [a book]\n"))); len(list) != 1 || list[0] != "profile: items is missing" {
		t.Errorf("%q", list)
	}
}

// Every key of a profile is in the schema, and no other.
func TestSchemaKeys(t *testing.T) {
	root := readSchema(t)
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
	compare(reflect.TypeFor[file](), root)
	for name := range root.Defs {
		if !used[name] {
			t.Errorf("definition %s is not used", name)
		}
	}
	words := func(list []string) (out []any) {
		for _, w := range list {
			out = append(out, w)
		}
		return out
	}
	if got := root.Properties["class"].Enum; !slices.Equal(got, words(classes())) {
		t.Errorf("classes %v", got)
	}
	if got := root.Properties["protocol"].Enum; !slices.Equal(got, words(protocols())) {
		t.Errorf("protocols %v", got)
	}
	for key, list := range map[string][]string{"type": types(), "order": orders()} {
		if got := root.Defs["Kind"].Properties[key].Enum; !slices.Equal(got, words(list)) {
			t.Errorf("%ss %v", key, got)
		}
	}
	if got := root.Defs["Table"].Enum; !slices.Equal(got, words(tables())) {
		t.Errorf("tables %v", got)
	}
}
