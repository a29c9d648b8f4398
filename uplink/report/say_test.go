package report

import (
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/verify"
)

// Every leaf without readings is said in both languages.
func TestSay(t *testing.T) {
	s := evidencetest.NewStreamOf(t, evidencetest.Signer(1), evidencetest.Signer(11), 1)
	w, at := s.Writer, evidencetest.Point(1)
	add := func(d []byte, err error) { t.Helper(); s.Add(t, d, err) }
	add(w.Step(at, evidencetest.Start, evidencetest.Start+90_000))
	add(w.Witnessed(at, "tallystick.org/log/00\n7\nrt0=\n\n— tallystick.org/log/00 AA==\n— w.example BB==\n— v.example CC==\n"))
	add(w.Counter(at, evidence.Counter{Handle: 0x01800004, Attest: []byte{1}, Signature: make([]byte, 64)}))
	keep := func(typ evidence.LeafType, content any) {
		t.Helper()
		body, err := record.Encode("bank-a", content)
		if err != nil {
			t.Fatal(err)
		}
		add(w.Record(at, typ, body))
	}
	receipt, err := evidence.SignReceipt(evidencetest.Signer(9), evidence.Receipt{N: 5, ReceivedAt: evidencetest.Start})
	if err != nil {
		t.Fatal(err)
	}
	keep(evidence.ReceiptLeaf, receipt)
	keep(evidence.AnswerLeaf, map[int]any{1: [16]byte{0xab, 0xcd}, 2: []any{
		[]any{"press-1", 3, 0x10, 2, int64(evidencetest.Start), 0, []byte{0x12, 0x34, 0, 7}},
		[]any{"press-1", 1, 0, 9, int64(evidencetest.Start), 0, []byte{0xff, 1}},
		[]any{"oven", 4, 2, 1, int64(evidencetest.Start), 2, []byte(nil)},
	}})
	keep(evidence.DeclarationLeaf, "planned closure")
	s.Rotate(t, evidencetest.Signer(11), evidencetest.Signer(12))
	add(w.Shutdown(at, "stopped"))

	v, err := verify.New(evidencetest.PublicKey(1), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct{ en, zh string }{
		{"the history begins; key " + evidencetest.PublicKey(1).String() + ", kept in: file", "历史由此开始"},
		{"the agent started (test); the run before ended in order", "上次正常结束"},
		{"", ""},
		{"the clock was set from 2026-01-05 00:00:00 +00:00 to 2026-01-05 00:01:30 +00:00, by 1m30s", "差 1m30s"},
		{"a checkpoint of the first 7 leaves, with 2 signatures of others", "附其他方签名 2 个"},
		{"the TPM signed the value of its counter 0x01800004", "计数器 0x01800004"},
		{"receipt of bank-a, 2026-01-05 00:00:00 +00:00: it has every leaf up to 5", "bank-a 的回执，2026-01-05 00:00:00 +00:00：已收到第 5 条及以前的记录"},
		{"answer to challenge abcd0000 of bank-a; press-1 holding 0x0010+2 = 1234 0007 (4660 7); press-1 coil 0x0000+9 = ff 01; oven input 0x0002+1: no data: timeout",
			"对 bank-a 质询 abcd0000 的答复；press-1 holding 0x0010+2 = 1234 0007 (4660 7)；press-1 coil 0x0000+9 = ff 01；oven input 0x0002+1 无数据：超时"},
		{"declaration for \"bank-a\", 16 bytes", "事先申报，对象 \"bank-a\"，16 字节"},
		{"another key: " + evidencetest.PublicKey(11).String() + " signs from the next leaf on, kept in: file", "更换密钥"},
		{"the agent stopped: stopped", "采集程序停止：stopped"},
	}
	for i, d := range s.Deliveries {
		r := v.Next(d, time.Time{})
		if !r.Verdict.Accepted() {
			// The attestation above is none; what it says is of no matter here.
			parsed, err := evidence.ParseDelivery(d)
			if err != nil {
				t.Fatal(err)
			}
			r.Manifest = &parsed.Manifest
		}
		en, zh := Say(r, English, time.UTC), Say(r, Chinese, time.UTC)
		if en != want[i].en || !strings.Contains(zh, want[i].zh) || (zh == "") != (want[i].zh == "") {
			t.Errorf("leaf %d (%s, %s):\n%s\n%s", i, r.Type, r.Verdict, en, zh)
		}
	}
	if s := Say(verify.Result{Verdict: verify.Altered}, English, time.UTC); s != "" {
		t.Errorf("what was not accepted is said: %q", s)
	}
	undisclosed, err := evidence.FilterDelivery(nil, s.Deliveries[6], record.Granted("bank-b", nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	d, err := evidence.ParseDelivery(undisclosed)
	if err != nil {
		t.Fatal(err)
	}
	if s := Say(verify.Result{Type: d.Manifest.Type, Manifest: &d.Manifest}, English, time.UTC); s != "receipt, its content not given: it is for another lender, or was left out" {
		t.Errorf("%q", s)
	}
}
