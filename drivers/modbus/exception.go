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
	noPathToTarget    Exception = 0x0A
	noReplyFromTarget Exception = 0x0B
)

func (e Exception) Error() string {
	if e.silence() {
		return fmt.Sprintf("%s (exception %02X)", e.words(), uint8(e))
	}
	return fmt.Sprintf("exception %02X %s", uint8(e), e.words())
}

// silence reports whether e is a gateway's word that the meter did not answer.
func (e Exception) silence() bool { return e == noPathToTarget || e == noReplyFromTarget }

func (e Exception) words() string {
	switch e {
	case 0x01:
		return "illegal function: the meter does not know this kind of register"
	case illegalAddress:
		return "illegal data address"
	case illegalValue:
		return "illegal data value: the meter does not accept a request of this length"
	case 0x04:
		return "device failure"
	case 0x05:
		return "acknowledge: the meter needs a long time for this request"
	case busy:
		return "device busy"
	case 0x07:
		return "negative acknowledge"
	case 0x08:
		return "memory parity error"
	case noPathToTarget:
		return "gateway: no path to the target"
	case noReplyFromTarget:
		return "gateway: target did not respond"
	}
	return "not in the standard"
}
