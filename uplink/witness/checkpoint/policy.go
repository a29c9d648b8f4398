package checkpoint

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Limits of a policy, above those tlog-policy asks for.
const (
	MaxPolicyBytes = 256 << 10
	maxDefined     = 64 // logs, and witnesses, and groups
)

// Policy says which logs are known and which witnesses must have cosigned a
// checkpoint (tlog-policy). It is immutable.
type Policy struct {
	Logs      []Log
	Witnesses []Witness
	quorum    member // nil: none is required
}

// Log is a log line of a policy.
type Log struct {
	Verifier note.Verifier
	URL      string // as written; may be empty
}

// Witness is a witness line of a policy.
type Witness struct {
	Name     string // within the policy
	Verifier note.Verifier
	URL      string // as written; may be empty
}

// PolicyError is a line of a policy that cannot be used. Line counts from 1;
// 0 is the file as a whole.
type PolicyError struct {
	Line    int
	Problem string
}

func (e *PolicyError) Error() string {
	if e.Line == 0 {
		return "policy: " + e.Problem
	}
	return fmt.Sprintf("policy line %d: %s", e.Line, e.Problem)
}

// Status is what a policy says about a checkpoint.
type Status struct {
	Checkpoint Checkpoint
	Met        bool          // enough of its witnesses have cosigned
	By         []WitnessedBy // the policy's witnesses that have, in its order
	// Oldest and Newest are the first and the last time in By, zero when it is
	// empty. Each may be one witness's word.
	Oldest, Newest time.Time
	// MetAt is the earliest time by which enough of them had; zero unless Met
	// and when none is required.
	MetAt time.Time
}

// WitnessedBy is a cosignature and whose it is within the policy.
type WitnessedBy struct {
	Witness string
	Cosignature
}

// Evaluate verifies a cosigned checkpoint. A log of the policy, or of those
// given besides, must have signed it; if none has, if a signature of a known
// key is wrong, or if it is no checkpoint, that is an error. Too few
// cosignatures are not: see Status.Met.
func (p *Policy) Evaluate(msg []byte, logs ...note.Verifier) (Status, error) {
	for _, l := range p.Logs {
		same := func(v note.Verifier) bool {
			return v.Name() == l.Verifier.Name() && v.KeyHash() == l.Verifier.KeyHash()
		}
		if !slices.ContainsFunc(logs, same) { // a note must not know a key twice
			logs = append(slices.Clip(logs), l.Verifier)
		}
	}
	var known []note.Verifier
	for _, w := range p.Witnesses {
		known = append(known, w.Verifier)
	}
	c, cosigned, err := Open(msg, logs, known...)
	if err != nil {
		return Status{}, err
	}
	s := Status{Checkpoint: c}
	for _, w := range p.Witnesses {
		if c := by(cosigned, w.Verifier); c != nil {
			s.By = append(s.By, WitnessedBy{w.Name, *c})
		}
	}
	s.Met = p.quorum == nil
	early := slices.SortedStableFunc(slices.Values(s.By), func(a, b WitnessedBy) int { return a.Time.Compare(b.Time) })
	if len(early) > 0 {
		s.Oldest, s.Newest = early[0].Time, early[len(early)-1].Time
	}
	seen := map[string]bool{}
	for _, w := range early {
		seen[w.Witness] = true
		if !s.Met && p.quorum.witnessed(seen) {
			s.Met, s.MetAt = true, w.Time
		}
	}
	return s, nil
}

// member is what a quorum or group may name.
type member interface {
	// witnessed reports whether it counts as having cosigned when the witnesses
	// named have.
	witnessed(by map[string]bool) bool
}

type single string

func (s single) witnessed(by map[string]bool) bool { return by[string(s)] }

type group struct {
	threshold int
	members   []member
}

func (g group) witnessed(by map[string]bool) bool {
	n := 0
	for _, m := range g.members {
		if m.witnessed(by) {
			n++
		}
	}
	return n >= g.threshold
}

// ParsePolicy reads a policy. Errors are of type *PolicyError and about the
// first line that is wrong.
func ParsePolicy(data []byte) (*Policy, error) {
	if len(data) > MaxPolicyBytes {
		return nil, &PolicyError{Problem: fmt.Sprintf("%d bytes, expected at most %d", len(data), MaxPolicyBytes)}
	}
	r := policyReader{
		policy:  &Policy{},
		names:   map[string]member{},
		grouped: map[string]bool{},
		keys:    map[string]int{},
	}
	for len(data) > 0 {
		r.line++
		line, rest, ended := bytes.Cut(data, []byte("\n"))
		data = rest
		problem := "the newline at its end is missing: the file may have been cut off"
		if ended {
			problem = r.read(string(line))
		}
		if problem != "" {
			return nil, &PolicyError{r.line, problem}
		}
	}
	if r.quorum == 0 {
		return nil, &PolicyError{Problem: "no quorum line, expected one: quorum NAME, or quorum none"}
	}
	return r.policy, nil
}

type policyReader struct {
	policy  *Policy
	line    int
	names   map[string]member // of witnesses and groups, which share one name space
	grouped map[string]bool   // names that are members of a group
	keys    map[string]int    // line of "log KEY" and "witness KEY"
	groups  int
	quorum  int // line, 0 when there was none
}

// read returns what is wrong with the line, empty when nothing is.
func (r *policyReader) read(line string) string {
	for i := range len(line) {
		if b := line[i]; b < ' ' && b != '\t' || b == 0x7f {
			return fmt.Sprintf("control character 0x%02x in column %d", b, i+1)
		}
	}
	words := strings.FieldsFunc(line, func(c rune) bool { return c == ' ' || c == '\t' })
	if len(words) == 0 || strings.HasPrefix(words[0], "#") {
		return ""
	}
	switch args := words[1:]; words[0] {
	case "log":
		return r.log(args)
	case "witness":
		return r.witness(args)
	case "group":
		return r.group(args)
	case "quorum":
		return r.setQuorum(args)
	}
	return fmt.Sprintf("expected log, witness, group or quorum, found %.40q", words[0])
}

func (r *policyReader) log(args []string) string {
	if len(args) < 1 || len(args) > 2 {
		return fmt.Sprintf("expected: log VKEY [URL], found %d words after log", len(args))
	}
	v, err := LogVerifier(args[0])
	if err != nil {
		return err.Error()
	}
	if problem := r.fresh("log", args[0], len(r.policy.Logs)); problem != "" {
		return problem
	}
	r.policy.Logs = append(r.policy.Logs, Log{v, optional(args[1:])})
	return ""
}

func (r *policyReader) witness(args []string) string {
	if len(args) < 2 || len(args) > 3 {
		return fmt.Sprintf("expected: witness NAME VKEY [URL], found %d words after witness", len(args))
	}
	v, err := WitnessVerifier(args[1])
	if err != nil {
		return err.Error()
	}
	if problem := r.fresh("witness", args[1], len(r.policy.Witnesses)); problem != "" {
		return problem
	}
	if problem := r.define(args[0], single(args[0])); problem != "" {
		return problem
	}
	r.policy.Witnesses = append(r.policy.Witnesses, Witness{args[0], v, optional(args[2:])})
	return ""
}

// fresh refuses a public key that has a line of this kind already, under
// whatever name.
func (r *policyReader) fresh(kind, vkey string, defined int) string {
	if defined == maxDefined {
		return fmt.Sprintf("more than %d %s lines", maxDefined, kind)
	}
	parts := strings.SplitN(vkey, "+", 3)
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return err.Error()
	}
	id := kind + string(key)
	if first := r.keys[id]; first != 0 {
		return fmt.Sprintf("the %s has the public key of line %d", kind, first)
	}
	r.keys[id] = r.line
	return ""
}

func optional(url []string) string { return strings.Join(url, "") }

func (r *policyReader) define(name string, m member) string {
	if name == "none" {
		return "the name none is taken: it stands for no witness at all"
	}
	if r.names[name] != nil {
		return fmt.Sprintf("the name %.40q is taken", name)
	}
	r.names[name] = m
	return ""
}

func (r *policyReader) group(args []string) string {
	if len(args) < 3 {
		return fmt.Sprintf("expected: group NAME any|all|NUMBER MEMBER..., found %d words after group", len(args))
	}
	if r.groups++; r.groups > maxDefined {
		return fmt.Sprintf("more than %d group lines", maxDefined)
	}
	name, members := args[0], args[2:]
	g := group{}
	switch args[1] {
	case "any":
		g.threshold = 1
	case "all":
		g.threshold = len(members)
	default:
		k, err := strconv.Atoi(args[1])
		if err != nil || strconv.Itoa(k) != args[1] || k < 1 || k > len(members) {
			return fmt.Sprintf("expected any, all or a number from 1 to %d, the members listed, found %.40q", len(members), args[1])
		}
		g.threshold = k
	}
	for _, m := range members {
		found := r.names[m]
		if found == nil {
			return fmt.Sprintf("member %.40q is no witness or group of a line above", m)
		}
		if r.grouped[m] {
			return fmt.Sprintf("%.40q is a member of a group already, and may count once only", m)
		}
		r.grouped[m] = true
		g.members = append(g.members, found)
	}
	return r.define(name, g)
}

func (r *policyReader) setQuorum(args []string) string {
	if len(args) != 1 {
		return fmt.Sprintf("expected: quorum NAME, found %d words after quorum", len(args))
	}
	if r.quorum != 0 {
		return fmt.Sprintf("a second quorum line, the first is line %d", r.quorum)
	}
	r.quorum = r.line
	if args[0] == "none" {
		return ""
	}
	m := r.names[args[0]]
	if m == nil {
		return fmt.Sprintf("%.40q is no witness or group of a line above", args[0])
	}
	r.policy.quorum = m
	return ""
}
