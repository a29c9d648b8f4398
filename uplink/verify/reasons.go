package verify

import (
	"fmt"
	"strconv"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// Reason explains a part of a result. Code is stable; the texts may improve.
type Reason struct {
	Code string `json:"code"`
	En   string `json:"en"`
	Zh   string `json:"zh"`
}

func (r Reason) String() string { return r.En }

// wording holds, for each code, the English and the Chinese text. Both take
// the same arguments; the Chinese names them by position where its order
// differs. "altered" and "forked" appear only where a signature, a digest or
// two signed leaves prove it.
func wording(code string) (en, zh string) {
	switch code {
	case "malformed":
		return "not in the Tallystick format: %s", "不符合 Tallystick 格式：%s"
	case "newer-version":
		return "%s; update this verifier", "%s；请升级验证程序"
	case "key-not-pinned":
		return "the log belongs to key %s, pinned for this box is %s", "该日志属于密钥 %s，而为此设备登记的密钥是 %s"
	case "signed-by-other":
		return "signed by another key: the leaf claims log %s and does not verify under the pinned key %s", "由其他密钥签名：该记录自称属于日志 %s，用登记的密钥 %s 验证不通过"
	case "signature":
		return "leaf %d: the signature does not fit the bytes under the pinned key: altered after signing, or signed by another key", "记录 %d：用登记的密钥验证，签名与内容不符：签名后被改动，或由其他密钥签名"
	case "signature-or-rotation":
		return "leaf %d: the signature does not verify under the newest key known here; leaves before it are missing, and one of them may have put another key in force", "记录 %d：用此处已知的最新密钥验证不通过；此前有记录缺失，其中可能含有密钥轮换"
	case "retired-key":
		return "leaf %d is signed with key %s, whose time was over; in force is %s", "记录 %d 使用已停用的密钥 %s 签名；当前有效的密钥是 %s"
	case "rotation-unchecked":
		return "leaf %d puts another key in force, and the genesis leaf that its predecessor's commitment leads back to was not received", "记录 %d 启用了新的密钥，但未收到可追溯其承诺的创世记录"
	case "rotation-uncommitted":
		return "leaf %d puts key %s in force, to which the key before had not committed; both statements are signed and contradict each other", "记录 %d 启用密钥 %s，但此前的密钥并未承诺该密钥；两份已签名的陈述相互矛盾"
	case "second-rotation":
		return "leaf %d puts another key in force, and so does leaf %d, which is signed by the same key; keep both, together they prove the fork", "记录 %d 启用了新的密钥，而由同一密钥签名的记录 %d 也启用了新的密钥；请保留两份，二者合为分叉的证明"
	case "other-log":
		return "the leaf belongs to log %s of the same key, followed is log %s", "该记录属于同一密钥的另一日志 %s，当前核验的是日志 %s"
	case "replayed":
		return "leaf %d was received before, byte for byte; it is not counted again", "记录 %d 此前已收到，内容完全相同；不重复计入"
	case "replayed-unchecked":
		return "leaf %d comes after leaf %d was expected and is too old to be compared; it is not counted", "记录 %d 早于应收的记录 %d，且年代过久无法比对；不计入"
	case "second-leaf":
		return "the box signed two different leaves with index %d: %s and %s; keep both, together they prove the fork", "该设备为序号 %d 签署了两份不同的记录：%s 与 %s；请保留两份，二者合为分叉的证明"
	case "missing":
		return "leaves %d to %d are missing", "缺少记录 %d 至 %d"
	case "history-unchecked":
		return "leaf %d: what came before is not known here, so its history cannot be checked until the box sends an anchor", "记录 %d：此前的历史未知，在设备发送锚点之前无法核对其历史"
	case "anchor-mismatch":
		return "leaf %d: the anchor sent along does not fit the signed history root, so the history cannot be checked", "记录 %d：所附锚点与已签名的历史根不符，无法核对历史"
	case "anchor-fork":
		return "the history of the %d leaves received earlier is not the history leaf %d is signed over; keep both, together they prove the fork", "此前收到的 %d 条记录的历史，与记录 %d 所签署的历史不同；请保留两者，二者合为分叉的证明"
	case "starts-late":
		return "the history before leaf %d was not seen; it is fixed by the signed root, and checked from here on", "记录 %d 之前的历史未曾收到；其内容已由签名的根固定，自此开始核对"
	case "history-root":
		return "leaf %d is signed over another history than the leaves received before it; keep both, together they prove the fork", "记录 %d 所签署的历史与此前收到的记录不同；请保留两者，二者合为分叉的证明"
	case "dictionary-index":
		return "leaf %d is to be read with the dictionary of leaf %d, in force is that of leaf %d", "记录 %d 引用记录 %d 的字典，而当前有效的是记录 %d 的字典"
	case "dictionary-unseen":
		return "leaf %d: its dictionary, leaf %d, was not received; signature and digests hold, the values cannot be named", "记录 %d：其字典（记录 %d）未收到；签名与摘要相符，但数值无法释读"
	case "dictionary-changed":
		return "from leaf %d on readings are told otherwise: %s; the box states so under signature, whether it fits what hangs at the meters no signature can say: compare with a declaration, or ask for an explanation", "自记录 %d 起数据的含义改变：%s；此为设备的签名陈述，是否与现场相符无法由签名证明：请与申报比对，或请对方说明"
	case "channel-missing":
		return "leaf %d does not account for the commissioned channel %s", "记录 %d 未包含已登记的通道 %s"
	case "channel-unknown":
		return "leaf %d holds channel %s, which its dictionary does not have", "记录 %d 含有通道 %s，而其字典中没有该通道"
	case "channel-sequence":
		return "leaf %d: channel %s was expected at number %d and stands at %d", "记录 %d：通道 %s 应为第 %d 号，实为第 %d 号"
	case "block-unsigned":
		return "leaf %d: a block of channel %s came along that the leaf is not signed over", "记录 %d：附带了通道 %s 的数据块，但该记录的签名并不包含它"
	case "block-digest":
		return "leaf %d: the block of channel %s is not the one that was signed: altered after signing", "记录 %d：通道 %s 的数据块与签名时不同：签名后被改动"
	case "block-form":
		return "leaf %d: the block of channel %s cannot be read: %s", "记录 %d：通道 %s 的数据块无法读取：%s"
	case "block-header":
		return "leaf %d: the block of channel %s names another channel or number inside than the leaf does", "记录 %d：通道 %s 的数据块内所写的通道或序号与记录不一致"
	case "counter":
		return "leaf %d: what the TPM is to have said about its counter does not hold: %s", "记录 %d：所附的可信芯片计数器证明不成立：%s"
	case "counter-skipped":
		return "leaf %d: the counter of the TPM went from %d to %d; one step was expected, so another copy of the log may have used it", "记录 %d：可信芯片的计数器从 %d 变为 %d，而应只增加一；该计数器可能被日志的另一副本使用过"
	case "restart-unexplained":
		return "leaf %d: the agent's boot counter or uptime changed and no boot leaf explains it", "记录 %d：设备的启动计数或运行时间发生变化，但没有启动记录说明"
	case "clock-unsynchronised":
		return "the box states that its clock was not synchronised (%s); order and completeness are not affected", "设备声明其时钟未同步（%s）；不影响顺序与完整性"
	case "clock-backwards":
		return "the window begins %s before the end of the one before: the box's clock was set back", "该时段的开始比上一时段的结束早 %s：设备时钟曾被向后调整"
	case "reception-unknown":
		return "nothing here shows when the evidence was received", "此处没有资料表明证据的接收时间"
	case "from-the-future":
		return "the window ends %s after it was received: the box's clock or this verifier's clock is wrong", "该时段的结束时间比接收时间晚 %s：设备时钟或验证方时钟有误"
	case "late":
		return "received %s after the end of the window (limit for a better grade: %d days)", "在时段结束 %s 后才收到（更高等级的期限：%d 天）"
	case "not-live":
		return "received %s after the end of the window (limit for grade A: 5 minutes)", "在时段结束 %s 后收到（A 级的期限：5 分钟）"
	case "no-beacon":
		return "nothing here shows that the window was made after a known moment: no nonce of this lender was answered in it or before, so the grade is B at best", "没有资料表明该时段形成于某一已知时刻之后：其中及此前均未回应本出借方的随机数，因此等级最高为 B"
	case "old-beacon":
		return "the newest nonce answered was %s old at the end of the window (limit for grade A: 30 minutes)", "所回应的最新随机数在时段结束时已有 %s（A 级的期限：30 分钟）"
	case "before-beacon":
		return "the window claims to end %s before a nonce it answers was issued: the box's clock or the lender's is wrong", "该时段声称的结束时间比其所回应的随机数的发出时间早 %s：设备或出借方的时钟有误"
	case "loss-declared":
		return "the box states that it no longer has leaves %d to %d: %s", "设备声明已不再保存记录 %d 至 %d：%s"
	case "cut-short":
		return "the file is cut short or damaged at byte %d: %s", "文件在第 %d 字节处被截断或损坏：%s"
	case "ends-early":
		return "the file announces leaves up to %d and ends before leaf %d", "文件声明包含至记录 %d，但在记录 %d 之前结束"
	case "beyond-end":
		return "the file announces leaves up to %d and holds leaf %d", "文件声明包含至记录 %d，却含有记录 %d"
	case "no-pinned-key":
		return "no key is pinned for log %s; it names key %s, which proves nothing until you have it from the box's owner", "没有为日志 %s 登记密钥；它自称密钥 %s，在向设备所有者核实之前不能证明任何事"
	case "key-assumed":
		return "no key was given, so the file was checked against the key it names itself, %s: compare it with the one you were given when the box was commissioned", "未提供密钥，因此按文件自称的密钥 %s 核验：请与设备启用时交给您的密钥比对"
	case "custody":
		return "the key that signs is kept in: %s. Whoever controls the box can have anything signed with it from now on; what was received and receipted before stays as it is", "签名密钥的保管方式：%s。控制设备的人此后可用该密钥签署任何内容；此前已接收并出具回执的内容不受影响"
	case "no-witness":
		return "no witness that is believed has cosigned this history: that nobody else was shown another one follows only from comparing with other lenders", "没有可采信的见证方对该历史联署：设备未向他人出示另一份历史，只能通过与其他出借方比对得知"
	case "checkpoint-fork":
		return "the box signed a checkpoint, cosigned by witnesses, of another history of the leaves before leaf %d; keep both, together they prove the fork", "设备曾签署并经见证方联署的检查点，与记录 %d 之前的历史不同；请保留两者，二者合为分叉的证明"
	case "receipt-differs":
		return "a receipt in the log confirms another history of the leaves before leaf %d", "日志中的一份回执所确认的历史，与记录 %d 之前的历史不同"
	case "no-times":
		return "no receipts of a lender that is believed, and no archive: when the evidence existed is the box's own word", "没有可采信的出借方回执，也没有接收存档：证据何时存在仅为设备自述"
	case "header":
		return "the head of the file does not fit the log: %s", "文件头与日志不符：%s"
	}
	return code, code
}

func newReason(code string, args ...any) Reason {
	en, zh := wording(code)
	if len(args) == 0 {
		return Reason{Code: code, En: en, Zh: zh}
	}
	chinese := make([]any, len(args))
	for i, a := range args {
		if ch, ok := a.(evidence.Channel); ok {
			a = channelZh(ch)
		}
		chinese[i] = a
	}
	return Reason{Code: code, En: fmt.Sprintf(en, args...), Zh: fmt.Sprintf(zh, chinese...)}
}

// KeyAssumed is the reason to add where a caller, for want of a pinned key,
// pinned the one a bundle names itself.
func KeyAssumed(key evidence.PublicKey) Reason { return newReason("key-assumed", key) }

func channelZh(ch evidence.Channel) string {
	names := [...]string{1: "电能", "功率", "电压/电流", "无功/功率因数", "频率", "采集时刻", "汇总", "设备状态", "水/气", "原始报文", "凭据", "日总量"}
	if int(ch) < len(names) && names[ch] != "" {
		return names[ch]
	}
	return strconv.Itoa(int(ch))
}
