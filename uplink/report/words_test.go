package report

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/verify"
)

// forbidden are words the product does not use: they judge the firm, accuse
// somebody, or promise what evidence cannot.
var forbidden = regexp.MustCompile(`(?i)\bscor(e|es|ing)\b|\brat(ing|ings|ed)\b|\bAAA\b|\bdefault(s|ed)? (prediction|risk)|\brisky?\b|\bcreditworth|\bfraud|\bforge[dry]|\bfake|\bcheat|` +
	`\blie[sd]?\b|\btamper|\bguarantee|\bsmart contract|\breleases? the loan|\banonym|\baccepted by (the )?courts?|\btrustworth|\bhonest (firm|borrower)|` +
	`信用|评分|评级|打分|征信|违约|风险|造假|伪造|作假|欺诈|虚假|篡改|作弊|保证|担保|智能合约|放款|匿名|法院|可信`)

// The words are found where they stand, so that the test below can fail.
func TestForbiddenWordsAreFound(t *testing.T) {
	for _, s := range []string{"credit score", "Rating: good", "no fraud", "a forged reading", "guaranteed", "信用评分", "涉嫌造假", "anonymous"} {
		if !forbidden.MatchString(s) {
			t.Errorf("%q is not found", s)
		}
	}
	for _, s := range []string{"altered after signing", "forked", "transformer ratio", "generated", "grade A", "separated"} {
		if m := forbidden.FindString(s); m != "" {
			t.Errorf("%q in %q", m, s)
		}
	}
}

// literals are the strings of the code of a package, its file names apart.
func literals(t *testing.T, pattern string) map[string]string {
	t.Helper()
	all := map[string]string{}
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v %v", pattern, files, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				all[name] += l.Value + "\n"
			}
			return true
		})
	}
	return all
}

func TestWordsOfAllTexts(t *testing.T) {
	texts := map[string]string{}
	for _, pattern := range []string{"*.go", "../verify/*.go", "../lender/*.go", "../witness/*.go", "../../cmd/tally-lender/*.go", "../../cmd/tallystick/*.go",
		"../../cmd/internal/words/*.go", "../../cmd/internal/outcome/*.go", "../../cmd/internal/recompute/*.go", "../../cmd/internal/redecode/*.go", "../../cmd/internal/assembly/*.go"} {
		maps.Copy(texts, literals(t, pattern))
	}
	for _, name := range []string{"page.tmpl", "../../docs/limits.md", "../../docs/limits.zh-CN.md", "../../docs/evidence.md", "../../docs/evidence.zh-CN.md",
		"../../docs/messages.md", "../../README.md", "../../README.zh-CN.md"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(b)
	}
	bundle := pack(t, newStory(t, 8))
	texts["page in Chinese"], texts["page in English"] = pageOf(t, bundle, Chinese), pageOf(t, bundle, English)
	for name, s := range texts {
		for _, line := range strings.Split(s, "\n") {
			// The name of a chip, and a purpose from the closed list of a consent.
			plain := strings.NewReplacer("可信芯片", "", "可信平台", "", "分阶段放款", "").Replace(line)
			if m := forbidden.FindString(plain); m != "" {
				t.Errorf("%s: %q in: %s", name, m, line)
			}
		}
	}
}

// "Altered" and "forked" are for a failed signature or digest, and for two
// signed histories: no other verdict uses them.
func TestVerdictsAccuseOnlyWhereProved(t *testing.T) {
	for _, v := range []verify.Verdict{verify.Verified, verify.Replayed, verify.Gap, verify.WrongKey, verify.Unreadable, verify.Altered, verify.Forked} {
		said := verdictText(v)
		if said.zh == string(v) || said.en == string(v) {
			t.Errorf("%s has no words", v)
		}
		if v != verify.Altered && v != verify.Verified && v != verify.Gap && (strings.Contains(said.en, "altered") || strings.Contains(said.zh, "改动")) {
			t.Errorf("%s: %v", v, said)
		}
		if v != verify.Forked && (strings.Contains(said.en, "forked") || strings.Contains(said.zh, "分叉")) {
			t.Errorf("%s: %v", v, said)
		}
	}
}

// Every kind of event of the specification has words in both languages.
func TestEventsHaveWords(t *testing.T) {
	spec, err := os.ReadFile("../evidence/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(spec), "### 4.1 Events")
	section, _, _ = strings.Cut(section, "\n## ")
	kinds := 0
	for row := range strings.Lines(section) {
		if !strings.HasPrefix(row, "| ") || strings.HasPrefix(row, "| kind") {
			continue
		}
		for _, kind := range strings.Split(strings.Split(row, "|")[1], ",") {
			kind = strings.TrimSpace(kind)
			kinds++
			if Event(kind, Chinese) == kind || Event(kind, English) == kind {
				t.Errorf("%s has no words", kind)
			}
		}
	}
	if kinds < 10 {
		t.Errorf("found %d kinds in SPEC.md", kinds)
	}
	if Event("something_new", Chinese) != "something_new" {
		t.Error("an unknown kind must stay as it is")
	}
}

// What the page says of limits is what docs/limits.md and its Chinese say.
func TestPageAndDocumentAgreeOnLimits(t *testing.T) {
	for name, l := range map[string]Lang{"../../docs/limits.md": English, "../../docs/limits.zh-CN.md": Chinese} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		doc := strings.Join(strings.Fields(string(b)), " ")
		for _, s := range slices.Concat(cannot(), besides()) {
			if !strings.Contains(doc, "- "+s.in(l)) {
				t.Errorf("%s does not say: %s", name, s.in(l))
			}
		}
	}
}

func TestLeafTypesHaveWords(t *testing.T) {
	for lt := range evidence.LeafType(64) {
		if said := leafText(lt); said.en != lt.String() || said.zh == "" {
			t.Errorf("type %d: %v, want at least %q", lt, said, lt.String())
		}
	}
}
