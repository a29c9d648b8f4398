package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/verify"
)

// Say is in one sentence what an accepted leaf states that holds no readings;
// "" for windows, for events, whose happenings have words of their own (Event),
// and for what was not accepted. Times are in zone. Who signed a receipt or a
// checkpoint's cosignatures is not looked at here.
func Say(r verify.Result, l Lang, zone *time.Location) string {
	if r.Manifest == nil {
		return ""
	}
	return sayText(r, zone).in(l)
}

func sayText(r verify.Result, zone *time.Location) text {
	m := r.Manifest
	at := func(ms int64) string { return time.UnixMilli(ms).In(zone).Format("2006-01-02 15:04:05 -07:00") }
	switch {
	case m.Type.Record():
		return recordText(r, at)
	case m.Genesis != nil:
		return text{"历史由此开始，密钥 %s，保存于：%s", "the history begins; key %s, kept in: %s"}.format(m.Genesis.Key.Key(), m.Genesis.Key.Custody)
	case m.BootInfo != nil && m.BootInfo.Clean:
		return text{"采集程序启动（%s），上次正常结束", "the agent started (%s); the run before ended in order"}.format(m.BootInfo.Software)
	case m.BootInfo != nil:
		return text{"采集程序启动（%s），上次未正常结束：断电、崩溃或被强制结束", "the agent started (%s); the run before did not end in order: power cut, crash, or killed"}.format(m.BootInfo.Software)
	case m.Type == evidence.ShutdownLeaf:
		return text{"采集程序停止：%s", "the agent stopped: %s"}.format(m.Shutdown)
	case m.Type == evidence.ConfigLeaf:
		return text{"配置已变更", "the configuration changed"}
	case m.Type == evidence.LossLeaf:
		var said text
		for i, lost := range m.Lost {
			t := text{"设备声明不再保存第 %d 至 %d 条：%s", "the box states that it no longer has leaves %d to %d: %s"}.format(lost.Lo, lost.Hi, lost.Reason)
			if i > 0 {
				t = text{said.zh + "；" + t.zh, said.en + "; " + t.en}
			}
			said = t
		}
		return said
	case m.Step != nil:
		by := time.Duration(m.Step.After-m.Step.Before) * time.Millisecond
		return text{"时钟由 %s 调为 %s，差 %s", "the clock was set from %s to %s, by %s"}.format(at(m.Step.Before), at(m.Step.After), by)
	case m.Rotation != nil:
		return text{"更换密钥：自下一条起由 %s 签名，保存于：%s", "another key: %s signs from the next leaf on, kept in: %s"}.format(m.Rotation.Key.Key(), m.Rotation.Key.Custody)
	case m.Note != "":
		return noteText(m.Note)
	case m.Counter != nil:
		return text{"安全芯片签署了计数器 0x%08x 的当前值", "the TPM signed the value of its counter 0x%08x"}.format(m.Counter.Handle)
	}
	return text{}
}

// noteText sums up a checkpoint (SPEC.md section 7.1): origin, size and root are
// its first lines, each signature is a line that begins with a dash, and one of
// them is the log's own.
func noteText(note string) text {
	lines := strings.Split(note, "\n")
	size, signatures := "?", 0
	if len(lines) > 1 {
		size = lines[1]
	}
	for _, line := range lines {
		if strings.HasPrefix(line, "— ") {
			signatures++
		}
	}
	return text{"前 %s 条的检查点，附其他方签名 %d 个", "a checkpoint of the first %s leaves, with %d signatures of others"}.format(size, max(0, signatures-1))
}

func recordText(r verify.Result, at func(int64) string) text {
	what := leafText(r.Type)
	if r.Record == nil {
		return text{what.zh + "，内容未提供：属于其他贷方，或未给出", what.en + ", its content not given: it is for another lender, or was left out"}
	}
	whom := r.Record.For
	switch r.Type {
	case evidence.ReceiptLeaf:
		var raw []byte
		if r.Record.Decode(&raw) != nil {
			break
		}
		receipt, err := evidence.UnverifiedReceipt(raw)
		switch {
		case err != nil:
		case receipt.Empty:
			return text{"%s 的回执，%s：尚未收到任何记录", "receipt of %s, %s: it has no leaf yet"}.format(whom, at(receipt.ReceivedAt))
		default:
			return text{"%s 的回执，%s：已收到第 %d 条及以前的记录", "receipt of %s, %s: it has every leaf up to %d"}.format(whom, at(receipt.ReceivedAt), receipt.N)
		}
	case evidence.AnswerLeaf:
		a, err := r.Record.Answer()
		if err != nil {
			break
		}
		said := text{"对 %s 质询 %x 的答复", "answer to challenge %[2]x of %[1]s"}.format(whom, a.Nonce[:4])
		for i := range a.Reads {
			t := readText(&a.Reads[i])
			said = text{said.zh + "；" + t.zh, said.en + "; " + t.en}
		}
		return said
	}
	return text{fmt.Sprintf("%s，对象 %q，%d 字节", what.zh, whom, len(r.Record.Content)), fmt.Sprintf("%s for %q, %d bytes", what.en, whom, len(r.Record.Content))}
}

// Read is what came of one read of a challenge: registers in hex and as unsigned
// numbers, bits in hex, or why there is nothing.
func Read(a *record.RegisterAnswer, l Lang) string { return readText(a).in(l) }

func readText(a *record.RegisterAnswer) text {
	what := fmt.Sprintf("%s %s 0x%04x+%d", a.Meter, Table(a.Table), a.Address, a.Count)
	if a.Code != evidence.OK {
		c := codeText(a.Code)
		return text{what + " 无数据：" + c.zh, what + ": no data: " + c.en}
	}
	rs := a.Registers()
	if rs == nil {
		return same(fmt.Sprintf("%s = % x", what, a.Data))
	}
	var hex, numbers []string
	for _, r := range rs {
		hex, numbers = append(hex, fmt.Sprintf("%04x", r)), append(numbers, fmt.Sprint(r))
	}
	return same(fmt.Sprintf("%s = %s (%s)", what, strings.Join(hex, " "), strings.Join(numbers, " ")))
}

// Table is the word for a table of Modbus in commands.
func Table(t evidence.RegisterTable) string {
	switch t {
	case evidence.Coils:
		return "coil"
	case evidence.DiscreteInputs:
		return "discrete"
	case evidence.HoldingRegisters:
		return "holding"
	}
	return "input"
}
