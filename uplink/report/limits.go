package report

// The sentences of docs/limits.md and docs/limits.zh-CN.md that stand on the
// page; a test compares them.

// cannot is what the evidence does not prove.
func cannot() []text {
	return []text{
		{"不能证明电表是真的：接在线上的模拟程序可以说出与电表一样的话。",
			"That a meter is real: a program on the wire can say what a meter would say."},
		{"不能证明电流都经过电表：被旁路的互感器、写错的变比，从数据上看不出来。",
			"That all the current passes the meter: a by-passed transformer or a wrong ratio does not show in the data."},
		{"不能证明电用在了生产上：为显得忙碌而空耗的电同样是电。",
			"That the power made goods: power burnt for show is power all the same."},
		{"不能证明设备时钟准确：能证明的只是收到的时间，以及先后顺序。",
			"That the box’s clock is right: what is proved is the order, and when it was received."},
		{"不能证明密钥只由采集程序使用：存放在文件中的密钥，设备的主人可以使用。",
			"That only the agent used the key: a key kept in a file can be used by whoever owns the box."},
		{"不能证明最后一次收到之后发生的事：断网、停电与有意不发，在此处看起来一样。",
			"Anything after the last record received: no network, no power and no wish to send look the same."},
	}
}

// besides is what a lender does apart from checking files.
func besides() []text {
	return []text{
		{"每月与供电公司的电费单核对", "compare each month with the utility’s invoice"},
		{"现场查看电表、互感器、铅封，并拍照留存", "visit: look at meters, transformers and seals, and keep photographs"},
		{"不定期请对方现场读出某只电表的指定寄存器", "now and then ask for a reading of a register you choose"},
		{"对中断、重新计数、互不相符之处，请对方说明", "ask for an explanation of gaps, counters that began anew, and values that do not fit"},
	}
}
