// Package words says consents, declarations and enrolments in the product's two
// languages. Both ends show the same words: what a factory consented to is what it
// read.
package words

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// Languages a notice can be read in.
const (
	Chinese = "zh-CN"
	English = "en"
)

// pick is the text of a language.
func pick(lang, zh, en string) string {
	if lang == Chinese {
		return zh
	}
	return en
}

// Terms is the notice: what is consented to, a line for each thing. Its hash
// stands in the consent record, so these words change only with a version.
func Terms(t *record.Terms, lang string) string {
	var b strings.Builder
	line := func(n int, zh, en, what string) {
		fmt.Fprintf(&b, "%2d %s%s%s\n", n, pick(lang, zh, en), pick(lang, ":", ": "), what)
	}
	yes := func(v bool) string {
		return pick(lang, map[bool]string{true: "是", false: "否"}[v], map[bool]string{true: "yes", false: "no"}[v])
	}
	line(2, "企业", "factory", factory(t.Factory.Kind, lang)+", "+t.Factory.Pseudonym)
	line(3, "签署人", "signed by", t.Signatory.Name+", "+t.Signatory.Capacity)
	line(4, "接收方", "recipient", strings.Join([]string{t.Recipient.Name, t.Recipient.Contact, t.Recipient.Licence}, ", "))
	purposes := make([]string, len(t.Purpose.Kinds))
	for i, p := range t.Purpose.Kinds {
		purposes[i] = purpose(p, lang)
	}
	line(5, "用途", "purpose", strings.Join(purposes, ", "))
	line(6, "数据", "data", fmt.Sprintf("%s; %s %s; %s %s", channels(t.Scope.Channels, lang),
		pick(lang, "最细间隔", "finest interval"), span(t.Scope.Resolution), pick(lang, "追溯", "history"), span(t.Scope.History)))
	line(7, "方式", "method", pick(lang, "网关加密后直接发送给接收方,不经第三方", "encrypted, from the box to the recipient, nobody in between"))
	line(8, "保存期限", "kept", fmt.Sprintf(pick(lang, "期满后 %d 天; %s", "%d days after the end; %s"), t.Retention.Days, t.Retention.Erasure))
	onward := pick(lang, "否", "to nobody")
	if len(t.Onward) > 0 {
		onward = strings.Join(t.Onward, ", ")
	}
	line(9, "转提供", "passed on", onward)
	line(10, "存储地点", "stored in", fmt.Sprintf("%s; %s: %s", t.Storage.Place, pick(lang, "出境", "leaves the country"), yes(t.Storage.Export)))
	line(11, "自动化决策", "decided by programs", fmt.Sprintf("%s; %s: %s; %s", yes(t.Automated.Used), pick(lang, "人工复核", "a person looks at it"), yes(t.Automated.Review), t.Automated.How))
	line(12, "拒绝的影响", "if refused", t.Consequences.Refusal)
	line(12, "撤回的影响", "if withdrawn", t.Consequences.Withdrawal)
	line(13, "期限", "term", fmt.Sprintf("%s - %s", at(t.Term.From), at(t.Term.Until)))
	line(13, "撤回方式", "how to withdraw", t.Term.Withdraw)
	rights := make([]string, len(t.Rights))
	for i, r := range t.Rights {
		rights[i] = right(r, lang)
	}
	line(14, "权利", "rights", strings.Join(rights, ", "))
	for _, s := range t.Separate {
		line(15, "单独同意", "separate consent", separate(s.What, lang)+", "+at(s.At))
	}
	return b.String()
}

// Withdrawal is the notice of a withdrawal.
func Withdrawal(lang string) string {
	return pick(lang, "撤回同意:此后不再向该接收方发送任何数据;已发送的数据不受影响。本机照常运行。",
		"The consent is withdrawn: nothing more is sent to this recipient; what was sent stays. The agent works on.") + "\n"
}

// Act is what a consent record does, in both languages, in one line.
func Act(c *record.Consent) string {
	what := map[record.Act]string{
		record.Grant:    "consent granted / 授予同意",
		record.Change:   "consent changed / 变更同意",
		record.Withdraw: "consent withdrawn, nothing more is sent / 撤回同意,此后不再发送",
	}[c.Header.Act]
	if c.Terms == nil {
		return what
	}
	return fmt.Sprintf("%s: %s / %s, %s - %s", what, channels(c.Scope.Channels, English), channels(c.Scope.Channels, Chinese), at(c.Term.From), at(c.Term.Until))
}

// Declaration is what a declaration says, in both languages, in one line. Times
// before the leaf's own, at, are named as such: it counts from its leaf on.
func Declaration(d *record.Declaration, leaf time.Time) string {
	what := map[record.DeclarationKind]string{
		record.PlannedClosure: "planned closure / 计划停产",
		record.PowerRationing: "power rationing / 有序用电",
		record.CTExchange:     "current transformer exchanged / 更换电流互感器",
		record.MeterExchange:  "meter exchanged / 更换电表",
		record.NewLoad:        "new load or photovoltaics / 新增负荷或光伏",
		record.ProductionPlan: "production plan / 生产计划",
		record.DeclaredReason: "explanation / 说明",
	}[d.Kind]
	s := fmt.Sprintf("declared: %s, %s - %s: %s", what, at(d.From), at(d.To), d.Text)
	if d.Old != nil && d.New != nil {
		s += fmt.Sprintf(" (%s: %s -> %s)", d.Meter, Decimal(*d.Old), Decimal(*d.New))
	}
	if !leaf.IsZero() && d.From < leaf.UnixMilli() {
		s += "; declared after it began / 事后申报"
	}
	return s
}

// Record is what a record says, in both languages, or "" where it is of a kind
// that is not for people. leaf is the time of its leaf.
func Record(t evidence.LeafType, r *record.Record, leaf time.Time) string {
	switch t {
	case evidence.ConsentLeaf:
		if c, err := r.Consent(); err == nil {
			return Act(&c)
		}
	case evidence.DeclarationLeaf:
		if d, err := r.Declaration(); err == nil {
			return Declaration(&d, leaf)
		}
	case evidence.CommissioningLeaf:
		if c, err := r.Commissioning(); err == nil {
			if claim, err := record.OpenClaim(c.Claim); err == nil {
				return fmt.Sprintf("enrolled / 登记: %s, %d meters / 块表, key %s", claim.Site, len(claim.Meters), Fingerprint(claim.Pin()))
			}
		}
	default:
		return ""
	}
	return "a record this program cannot read / 无法识别的记录"
}

// Fingerprint is how people compare a key: SHA-256 of its text form in hex, in
// groups of four.
func Fingerprint(k evidence.PublicKey) string {
	sum := sha256.Sum256([]byte(k.String()))
	h := hex.EncodeToString(sum[:])
	var groups []string
	for ; h != ""; h = h[4:] {
		groups = append(groups, h[:4])
	}
	return strings.Join(groups, " ")
}

// SameFingerprint compares what somebody typed, however it is spaced.
func SameFingerprint(k evidence.PublicKey, typed string) bool {
	plain := strings.NewReplacer(" ", "", "-", "", ":", "", "\t", "", "\n", "", "\r", "")
	return strings.EqualFold(plain.Replace(typed), plain.Replace(Fingerprint(k)))
}

func channels(cs []evidence.Channel, lang string) string {
	zh := map[evidence.Channel]string{
		evidence.Energy: "电能", evidence.Power: "功率", evidence.VoltageCurrent: "电压电流", evidence.Reactive: "无功与功率因数",
		evidence.Frequency: "频率", evidence.Timing: "采集时刻", evidence.Aggregates: "15 分钟汇总", evidence.Status: "设备状态",
		evidence.WaterGas: "水和气", evidence.RawFrames: "原始报文", evidence.DailyTotals: "日电量",
	}
	names := make([]string, len(cs))
	for i, c := range cs {
		names[i] = pick(lang, zh[c], c.String())
	}
	return strings.Join(names, pick(lang, "、", ", "))
}

func factory(k record.FactoryKind, lang string) string {
	switch k {
	case record.SoleTrader:
		return pick(lang, "个体工商户", "sole trader")
	case record.NaturalPerson:
		return pick(lang, "自然人", "natural person")
	}
	return pick(lang, "企业", "company")
}

func purpose(p record.PurposeKind, lang string) string {
	switch p {
	case record.Application:
		return pick(lang, "申请评估", "application")
	case record.Monitoring:
		return pick(lang, "贷后监测", "post-loan monitoring")
	}
	return pick(lang, "分阶段放款", "staged release")
}

func right(r record.Right, lang string) string {
	switch r {
	case record.RightCopy:
		return pick(lang, "复制", "copy")
	case record.RightCorrection:
		return pick(lang, "更正", "correction")
	}
	return pick(lang, "异议", "dispute")
}

func separate(k record.SeparateKind, lang string) string {
	switch k {
	case record.ProvideToRecipient:
		return pick(lang, "向接收方提供", "provision to the recipient")
	case record.ProvideRawFrames:
		return pick(lang, "提供原始报文", "raw frames")
	case record.ProvideOnward:
		return pick(lang, "转提供", "passing on")
	case record.ExportAbroad:
		return pick(lang, "出境", "leaving the country")
	}
	return pick(lang, "自动化决策", "decisions by programs")
}

// at is a time in UTC, which is the same at both ends.
func at(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04Z") }

func span(ms uint64) string {
	const day = 86_400_000
	if ms%day == 0 {
		return strconv.FormatUint(ms/day, 10) + " d"
	}
	return strconv.FormatUint(ms/1000, 10) + " s"
}

// Decimal is an exact number as people write it.
func Decimal(d record.Decimal) string {
	if d.Exp >= 0 {
		return strconv.FormatInt(d.Coef, 10) + strings.Repeat("0", int(d.Exp))
	}
	digits := strings.TrimPrefix(strconv.FormatInt(d.Coef, 10), "-")
	if n := 1 - int(d.Exp) - len(digits); n > 0 {
		digits = strings.Repeat("0", n) + digits
	}
	cut := len(digits) + int(d.Exp)
	sign := ""
	if d.Coef < 0 {
		sign = "-"
	}
	return sign + digits[:cut] + "." + digits[cut:]
}
