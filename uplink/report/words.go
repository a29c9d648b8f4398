package report

import (
	"fmt"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/verify"
)

// Lang is a language of texts for people.
type Lang string

const (
	Chinese Lang = "zh"
	English Lang = "en"
)

// text is one text in both languages.
type text struct{ zh, en string }

func (t text) in(l Lang) string {
	if l == Chinese {
		return t.zh
	}
	return t.en
}

// format fills both languages with the same arguments, in the same order.
func (t text) format(args ...any) text {
	return text{fmt.Sprintf(t.zh, args...), fmt.Sprintf(t.en, args...)}
}

// same is a text that is not translated: a name, or what a box wrote.
func same(s string) text { return text{s, s} }

// Event says in words what kind of happening this is (SPEC.md section 4.1). A
// failed check asks for an explanation and accuses nobody. A kind this
// program does not know stays as it is.
func Event(kind string, l Lang) string { return eventText(kind).in(l) }

func eventText(kind string) text {
	switch kind {
	case "line_lost":
		return text{"线路中断", "line was cut"}
	case "line_restored":
		return text{"线路恢复", "line is back"}
	case "meter_silent":
		return text{"电表无应答", "meter gives no answer"}
	case "meter_answers":
		return text{"电表恢复应答", "meter answers again"}
	case "meter_exchanged":
		return text{"该地址上的电表已更换", "another meter answers at this address"}
	case "counter_rolled_over":
		return text{"计数器满度归零", "counter passed its end and began at 0"}
	case "counter_reset":
		return text{"计数器重新计数，需要说明", "counter began anew, explanation needed"}
	case "counter_glitch":
		return text{"计数器跳变后恢复", "counter fell and came back"}
	case "check_failed":
		return text{"数值相互不符，需要说明", "values do not fit together, explanation needed"}
	case "check_passed":
		return text{"数值恢复一致", "values fit together again"}
	}
	return same(kind)
}

// leafText names a type of leaf; one this package does not know by its String.
func leafText(t evidence.LeafType) text {
	switch t {
	case evidence.GenesisLeaf:
		return text{"开始", t.String()}
	case evidence.WindowLeaf:
		return text{"时段", t.String()}
	case evidence.BootLeaf:
		return text{"启动", t.String()}
	case evidence.ShutdownLeaf:
		return text{"停止", t.String()}
	case evidence.ConfigLeaf:
		return text{"配置变更", t.String()}
	case evidence.LossLeaf:
		return text{"缺失声明", t.String()}
	case evidence.EventsLeaf:
		return text{"事件", t.String()}
	case evidence.ClockStepLeaf:
		return text{"时钟调整", t.String()}
	case evidence.RotationLeaf:
		return text{"更换密钥", t.String()}
	case evidence.ConsentLeaf:
		return text{"授权记录", t.String()}
	case evidence.DeclarationLeaf:
		return text{"事先申报", t.String()}
	case evidence.ReceiptLeaf:
		return text{"接收回执", t.String()}
	case evidence.WitnessedLeaf:
		return text{"第三方见证", t.String()}
	case evidence.CommissioningLeaf:
		return text{"启用登记", t.String()}
	case evidence.AnswerLeaf:
		return text{"质询的答复", t.String()}
	case evidence.CounterLeaf:
		return text{"安全芯片计数", t.String()}
	}
	return same(t.String())
}

func codeText(c evidence.Code) text {
	switch c {
	case evidence.OK:
		return text{"正常", c.String()}
	case evidence.Timeout:
		return text{"超时", c.String()}
	case evidence.BadFrame:
		return text{"报文错误", c.String()}
	case evidence.Refused:
		return text{"电表拒绝", c.String()}
	case evidence.Absent:
		return text{"电表无此量", c.String()}
	case evidence.Invalid:
		return text{"寄存器无有效值", c.String()}
	case evidence.Disconnected:
		return text{"线路不可用", c.String()}
	case evidence.Skipped:
		return text{"到时未询问", c.String()}
	case evidence.Interrupted:
		return text{"采集程序未运行", c.String()}
	}
	return same(c.String())
}

func clockText(f evidence.TimeFlag) text {
	switch f {
	case evidence.Synchronised:
		return text{"已与时间服务器同步", "synchronised with a time server"}
	case evidence.Informative:
		return text{"由人工或电表设置", "set by a person or a meter"}
	case evidence.Unsynchronised:
		return text{"未同步", "not synchronised"}
	case evidence.Relative:
		return text{"自启动起计时，日期为推测", "counts from the start, the date is a guess"}
	}
	return same(string(f))
}

// verdictText says what a verdict means to somebody who does not know the
// format. "Altered" and "forked" stand only where a digest or signature shows it.
func verdictText(v verify.Verdict) text {
	switch v {
	case verify.Verified:
		return text{"文件中的每条记录都由该设备签名，签名后未被改动；首末记录之间没有缺失。",
			"Every record in this file was signed by the box and has not changed since. None is missing between the first and the last."}
	case verify.Gap:
		return text{"文件中的记录都由该设备签名，签名后未被改动。有记录缺失，见下文“中断”。缺失不等于有问题：停电、断网都会造成缺失。",
			"The records in this file were signed by the box and have not changed since. Some are missing, see “Gaps”. A gap is no sign of wrong-doing: power cuts and lost networks leave gaps too."}
	case verify.Altered:
		return text{"文件中有记录与其签名或摘要不符，即签名之后被改动。这些记录不计入下文任何数字。",
			"Some records do not fit their signature or digest: they were altered after signing. They count in none of the figures below."}
	case verify.Forked:
		return text{"该设备为同一序号签署了两份不同的记录（分叉）。请保留两份，并请对方说明。",
			"The box signed two different histories (forked). Keep both and ask for an explanation."}
	case verify.WrongKey:
		return text{"文件中有内容不是由为此设备登记的密钥签名的。这些内容不计入下文任何数字。",
			"Something in this file was signed by another key than the one given for this box. It counts in none of the figures below."}
	case verify.Unreadable:
		return text{"文件中有内容无法读取。这不说明任何人有过错：请对方重新提供文件。",
			"Part of this file cannot be read. That accuses nobody: ask for the file again."}
	case verify.Replayed:
		return text{"文件中有记录出现了两次，只计一次。", "Some records are in this file twice. They count once."}
	}
	return same(string(v))
}

// gradeText is what a grade of evidence means (SPEC.md "Grades").
func gradeText(g verify.Grade) text {
	switch g {
	case verify.GradeA:
		return text{"5 分钟内收到，并回应了质询", "received within 5 minutes, a challenge answered"}
	case verify.GradeB:
		return text{"24 小时内收到", "received within 24 hours"}
	case verify.GradeC:
		return text{"7 天内收到，或设备时钟未同步", "received within 7 days, or clock not synchronised"}
	case verify.GradeD:
		return text{"更晚收到，或接收时间不明", "received later, or it is not known when"}
	}
	return text{"未通过核验，不计入", "did not verify, not counted"}
}
