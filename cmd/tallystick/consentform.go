package main

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/cmd/internal/assembly"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/configs/strict"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// consentForm is what people fill in; RECORDS.md says what each entry means.
type consentForm struct {
	Language string `yaml:"language"`
	Factory  struct {
		Kind      string `yaml:"kind" required:"true"`
		Pseudonym string `yaml:"pseudonym"`
	} `yaml:"factory" required:"true"`
	Signatory struct {
		Name     string `yaml:"name" required:"true"`
		Capacity string `yaml:"capacity" required:"true"`
	} `yaml:"signatory" required:"true"`
	Recipient struct {
		Name    string `yaml:"name" required:"true"`
		Contact string `yaml:"contact" required:"true"`
		Licence string `yaml:"licence" required:"true"`
	} `yaml:"recipient" required:"true"`
	Purposes   []string          `yaml:"purposes" required:"true"`
	Loan       string            `yaml:"loan"`
	Channels   []configs.Channel `yaml:"channels"`
	Resolution time.Duration     `yaml:"resolution"`
	History    time.Duration     `yaml:"history"`
	Retention  time.Duration     `yaml:"retention" required:"true"`
	Erasure    string            `yaml:"erasure" required:"true"`
	Onward     []string          `yaml:"onward"`
	Storage    struct {
		Place  string `yaml:"place" required:"true"`
		Export bool   `yaml:"export"`
	} `yaml:"storage" required:"true"`
	Automated struct {
		Used   bool   `yaml:"used"`
		Review bool   `yaml:"review"`
		How    string `yaml:"how"`
	} `yaml:"automated"`
	Consequences struct {
		Refusal    string `yaml:"refusal" required:"true"`
		Withdrawal string `yaml:"withdrawal" required:"true"`
	} `yaml:"consequences" required:"true"`
	From     configs.Day `yaml:"from" required:"true"`
	Until    configs.Day `yaml:"until" required:"true"`
	Withdraw string      `yaml:"withdraw"`
	Rights   []string    `yaml:"rights"`
	Separate struct {
		Provide  bool `yaml:"provide"`
		Raw      bool `yaml:"raw-frames"`
		Onward   bool `yaml:"onward"`
		Export   bool `yaml:"export"`
		Programs bool `yaml:"programs"`
	} `yaml:"separate" required:"true"`
	Signed           configs.Day `yaml:"signed" required:"true"` // the day on which the factory decided all this
	Countersignature string      `yaml:"countersignature"`
}

// Defaults implements strict.Defaulter.
func (f *consentForm) Defaults() {
	f.Language = "zh-CN"
	f.Withdraw = "tallystick consent withdraw"
	f.Rights = []string{"copy", "correction", "dispute"}
	f.Automated.Review = true
}

// KeyHint implements strict.KeyHinter.
func (*consentForm) KeyHint(key string) (strict.Problem, bool) {
	if key == "share" || key == "data" {
		return strict.Problem{Hint: "write channels: and some of those the site file shares with this lender"}, true
	}
	return strict.Problem{}, false
}

// readForm reads a form; all its faults are on stderr when it returns an error.
func (a *app) readForm(path string) (*consentForm, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, strict.MaxBytes+1))
	if err != nil {
		return nil, err
	}
	form := &consentForm{}
	faults := strict.Decode(path, data, form)
	if len(faults) == 0 {
		return form, nil
	}
	if err := strict.Render(a.stderr, data, faults); err != nil {
		return nil, err
	}
	return nil, &cli.Error{Exit: cli.Usage, Text: fmt.Sprintf("%s has %s, listed above", path, cli.Count(len(faults), "fault")), Hint: "nothing was recorded; correct the file and try again"}
}

// choose translates words of a closed list, ascending.
func choose[T ~uint](what string, words []string, list ...string) (vs []T, err error) {
	for _, w := range words {
		i := slices.Index(list, w)
		if i < 0 {
			return nil, cli.UsageError("%s: expected some of %s, found %q", what, strings.Join(list, ", "), w)
		}
		vs = append(vs, T(i+1))
	}
	slices.Sort(vs)
	return slices.Compact(vs), nil
}

// terms makes the terms a form states. The same form has the same terms, today
// and tomorrow: what the lender countersigns is what is recorded.
func (f *consentForm) terms(site *configs.Site, l *configs.Lender) (*record.Terms, error) {
	zone, err := site.Timezone.Location()
	if err != nil {
		return nil, err
	}
	kinds, err := choose[record.FactoryKind]("factory: kind", []string{f.Factory.Kind}, "company", "sole-trader", "natural-person")
	if err != nil {
		return nil, err
	}
	purposes, err := choose[record.PurposeKind]("purposes", f.Purposes, "application", "monitoring", "staged-release")
	if err != nil {
		return nil, err
	}
	rights, err := choose[record.Right]("rights", f.Rights, "copy", "correction", "dispute")
	if err != nil {
		return nil, err
	}
	named := f.Channels
	switch {
	case len(named) > 0:
	case kinds[0].Personal():
		named = []configs.Channel{configs.Daily} // working hours are private life
	default:
		named = l.Share
	}
	for _, c := range named {
		if !slices.Contains(l.Share, c) {
			return nil, &cli.Error{Exit: cli.Usage, Code: "E-702", Text: fmt.Sprintf("the consent is to channel %s, which the site file does not share with lender %s", c, l.Name),
				Hint: fmt.Sprintf("add %s to share: of %s in the site file (and to channels:, if it is not read yet), or name other channels: in the consent", c, l.Name)}
		}
	}
	channels := assembly.Channels(named)
	slices.Sort(channels)
	t := &record.Terms{
		Factory:      record.Factory{Kind: kinds[0], Pseudonym: f.Factory.Pseudonym},
		Signatory:    record.Signatory{Name: f.Signatory.Name, Capacity: f.Signatory.Capacity},
		Recipient:    record.Recipient{Name: f.Recipient.Name, Contact: f.Recipient.Contact, Licence: f.Recipient.Licence},
		Purpose:      record.Purpose{Kinds: purposes},
		Scope:        record.Scope{Channels: slices.Compact(channels), Resolution: uint64(max(0, f.Resolution.Milliseconds())), History: uint64(max(0, f.History.Milliseconds()))},
		Method:       record.Direct,
		Retention:    record.Retention{Days: uint64(max(0, f.Retention) / (24 * time.Hour)), Erasure: f.Erasure},
		Onward:       append([]string{}, f.Onward...),
		Storage:      record.Storage{Place: f.Storage.Place, Export: f.Storage.Export},
		Automated:    record.Automated{Used: f.Automated.Used, Review: f.Automated.Review, How: f.Automated.How},
		Consequences: record.Consequences{Refusal: f.Consequences.Refusal, Withdrawal: f.Consequences.Withdrawal},
		Term:         record.Term{From: f.From.Begin(zone).UnixMilli(), Until: f.Until.End(zone).UnixMilli(), Withdraw: f.Withdraw},
		Rights:       rights,
	}
	if t.Factory.Pseudonym == "" {
		t.Factory.Pseudonym = string(site.Site.Name)
	}
	if f.Loan != "" {
		t.Purpose.Loan = sha256.Sum256([]byte(f.Loan))
	}
	// Each of them was given by a line of its own, with the form.
	for i, given := range []bool{f.Separate.Provide, f.Separate.Raw, f.Separate.Onward, f.Separate.Export, f.Separate.Programs} {
		if given {
			t.Separate = append(t.Separate, record.SeparateConsent{What: record.SeparateKind(i + 1), At: f.Signed.Begin(zone).UnixMilli()})
		}
	}
	words := []string{"provide", "raw-frames", "onward", "export", "programs"}
	for _, k := range t.Needs() {
		if !slices.ContainsFunc(t.Separate, func(s record.SeparateConsent) bool { return s.What == k }) {
			return nil, &cli.Error{Exit: cli.Usage, Code: "E-703", Text: fmt.Sprintf("separate: %s is needed for what this consent says, and is not given", words[k-1]),
				Hint: fmt.Sprintf("it is an act of its own: write %s: true below separate: if that is what you want, or change what needs it", words[k-1])}
		}
	}
	if err := t.Validate(); err != nil {
		return nil, &cli.Error{Exit: cli.Usage, Code: "E-704", Text: err.Error(), Hint: "correct the form; uplink/evidence/RECORDS.md says what each entry means"}
	}
	return t, nil
}

// countersignature is the recipient's in the form, checked; empty for none.
func (f *consentForm) countersignature(l *configs.Lender, t *record.Terms) ([]byte, error) {
	if f.Countersignature == "" {
		return []byte{}, nil
	}
	bad := func(why error) error {
		return &cli.Error{Exit: cli.Usage, Code: "E-705", Text: fmt.Sprintf("the countersignature is not lender %s's of these terms: %v", l.Name, why),
			Hint: "write the terms anew with tallystick consent terms, and have the lender countersign those: tally-lender countersign FILE"}
	}
	sig, err := base64.RawURLEncoding.Strict().DecodeString(f.Countersignature)
	if err != nil {
		return nil, bad(err)
	}
	key, err := evidence.ParsePublicKey(l.PublicKey.String())
	if err != nil {
		return nil, bad(fmt.Errorf("public_key: of the lender is missing in the site file"))
	}
	if err := record.VerifyCountersignature(key, t, sig); err != nil {
		return nil, bad(err)
	}
	return sig, nil
}

// blankForm is a form for a lender, to be filled in.
func blankForm(site *configs.Site, l *configs.Lender, now time.Time) string {
	share := make([]string, len(l.Share))
	for i, c := range l.Share {
		share[i] = string(c)
	}
	name := string(l.Label)
	return fmt.Sprintf(`# Consent of a factory to a lender / 企业对贷方的同意. Fill in what is empty / 请填写空白处.
language: zh-CN            # of the notice: zh-CN or en / 告知语言
factory:
  kind: company            # company 企业, sole-trader 个体工商户, natural-person 自然人
  pseudonym: %s
signatory: {name: "", capacity: ""}                # who signs, in what capacity / 签署人及身份
recipient: {name: %q, contact: "", licence: ""}    # legal name, contact, kind of licence / 接收方名称、联系方式、牌照种类
purposes: [monitoring]     # application 申请评估, monitoring 贷后监测, staged-release 分阶段放款
loan: ""                   # reference of the loan; only its hash is recorded / 贷款编号,只记录其摘要
channels: [%s]             # a sole trader may leave this out: daily totals only / 个体工商户可省略:只提供日电量
resolution: %s
history: 0s                # how long before "from" readings may be from, such as 30d / 可追溯的时间
retention: 365d            # kept that long after the end / 期满后保存期限
erasure: ""                # what happens then / 期满后如何处理
onward: []                 # whom the recipient may pass the data on to / 转提供给谁
storage: {place: "", export: false}                # where, and whether they leave the country / 存储地点、是否出境
automated: {used: false, review: true, how: ""}    # do programs decide, does a person look at it / 自动化决策与人工复核
consequences:              # in plain words / 用通俗的语言
  refusal: "The agent works without any lender. / 不同意也可以照常使用本程序。"
  withdrawal: "Nothing more is sent; what was sent stays. / 此后不再发送,已发送的不受影响。"
from: %s
until: %s                  # the last day; nothing is sent after it / 最后一天,此后不再发送
withdraw: "tallystick consent withdraw --lender %s"
rights: [copy, correction, dispute]                # 复制、更正、异议
separate:                  # each an act of its own: true only where you want it / 逐项单独同意
  provide: false           # provision to the recipient / 向接收方提供
  raw-frames: false        # 原始报文
  onward: false            # passing on / 转提供
  export: false            # leaving the country / 出境
  programs: false          # decisions by programs / 自动化决策
signed: %s         # the day on which you decide this / 作出决定的日期
countersignature: ""       # the lender's, from tally-lender countersign; may be empty / 贷方会签,可空
`, site.Site.Name, name, strings.Join(share, ", "), site.Window, now.Format(time.DateOnly), now.AddDate(1, 0, -1).Format(time.DateOnly), l.Name, now.Format(time.DateOnly))
}
