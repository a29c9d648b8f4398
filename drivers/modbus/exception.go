package modbus

import "fmt"

// Exception is the code with which a meter or a gateway refuses a request
// (Modbus Application Protocol V1.1b3, section 7). It is the cause of a
// drivers.Fault and can be found there with errors.As.
type Exception uint8

const (
	illegalAddress    Exception = 0x02
	illegalValue      Exception = 0x03
	busy              Exception = 0x06
	noReplyFromTarget Exception = 0x0B
)

func (e Exception) Error() string {
	words := "not in the standard"
	switch e {
	case 0x01:
		words = "illegal function: the meter does not know this kind of register"
	case illegalAddress:
		words = "illegal data address"
	case illegalValue:
		words = "illegal data value: the meter does not accept a request of this length"
	case 0x04:
		words = "device failure"
	case 0x05:
		words = "acknowledge: the meter needs a long time for this request"
	case busy:
		words = "device busy"
	case 0x07:
		words = "negative acknowledge"
	case 0x08:
		words = "memory parity error"
	case 0x0A:
		words = "gateway path unavailable: the gateway has no line for this unit"
	case noReplyFromTarget:
		words = "gateway target failed to respond: the meter behind the gateway is silent"
	}
	return fmt.Sprintf("exception %02X %s", uint8(e), words)
}
