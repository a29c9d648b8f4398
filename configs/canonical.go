package configs

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// YAML is the effective configuration as a site file: what the file says, with
// every default written out.
func (s *Site) YAML() []byte {
	b, err := yaml.Marshal(tree(reflect.ValueOf(*s), false))
	if err != nil {
		panic(err) // a tree of plain scalars
	}
	return b
}

// Digest identifies the effective configuration in the evidence: what is
// measured and how, and who gets what. It is the SHA-256 of these lines, each
// ended by a line feed:
//
//	tallystick configuration 1
//	meters.0.address=7
//	meters.0.name="press-1"
//	...
//
// One line a value, defaults included, sorted bytewise; text as a Go string
// literal, durations as in the file, list entries by their index. Names of
// local files and directories are left out, and values that are empty.
// Comments, order of keys and spelling of values do not matter.
func (s *Site) Digest() [sha256.Size]byte {
	lines := flatten(nil, "", tree(reflect.ValueOf(*s), true))
	slices.Sort(lines)
	return sha256.Sum256([]byte("tallystick configuration 1\n" + strings.Join(lines, "\n") + "\n"))
}

func flatten(lines []string, path string, n *yaml.Node) []string {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			lines = flatten(lines, path+"."+n.Content[i].Value, n.Content[i+1])
		}
	case yaml.SequenceNode:
		for i, e := range n.Content {
			lines = flatten(lines, path+"."+strconv.Itoa(i), e)
		}
	default:
		value := n.Value
		if n.Tag == "!!str" {
			value = strconv.Quote(value)
		}
		lines = append(lines, strings.TrimPrefix(path, ".")+"="+value)
	}
	return lines
}

// tree writes v by its yaml tags, in the order of the fields. Fields that are
// not required and hold their zero value are left out, and with digest those
// tagged digest:"-".
func tree(v reflect.Value, digest bool) *yaml.Node {
	switch x := v.Interface().(type) {
	case time.Duration:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: written(x)}
	case fmt.Stringer:
		return text(x.String())
	}
	switch v.Kind() {
	case reflect.Struct:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, f := range reflect.VisibleFields(v.Type()) {
			name, value := f.Tag.Get("yaml"), v.FieldByIndex(f.Index)
			if name == "" || digest && f.Tag.Get("digest") == "-" || value.IsZero() && f.Tag.Get("required") != "true" {
				continue
			}
			if child := tree(value, digest); child.Kind == yaml.ScalarNode || len(child.Content) > 0 {
				n.Content = append(n.Content, text(name), child)
			}
		}
		return n
	case reflect.Slice:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			n.Content = append(n.Content, tree(v.Index(i), digest))
		}
		return n
	case reflect.Bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: strconv.FormatBool(v.Bool())}
	case reflect.Int:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: strconv.FormatInt(v.Int(), 10)}
	}
	return text(v.String())
}

func text(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
}
