package line

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

// Serial is a serial port and its line settings.
type Serial struct {
	Path string // device node or a link to one: /dev/serial/by-id/...; COM3 on Windows
	drivers.Settings
	RS485 *RS485 // nil: the box or the adapter switches the direction by itself
}

// RS485 has the kernel switch the direction of an RS-485 port by its RTS line,
// where the board has wired it so and nothing does it in hardware.
type RS485 struct {
	RTSOnSend   bool          // RTS is high while sending, otherwise low
	DelayBefore time.Duration // from switching to the first bit sent, in whole ms
	DelayAfter  time.Duration // from the last bit sent to switching back, in whole ms
}

// difference says in which way a port that was given settings want has got others.
func difference(got, want drivers.Settings) error {
	var kept []string
	if max(got.Baud-want.Baud, want.Baud-got.Baud) > want.Baud/50 {
		kept = append(kept, fmt.Sprintf("%d baud", got.Baud))
	}
	if got.DataBits != want.DataBits {
		kept = append(kept, fmt.Sprintf("%d data bits", got.DataBits))
	}
	if got.Parity != want.Parity {
		kept = append(kept, map[byte]string{'N': "no parity", 'E': "even parity", 'O': "odd parity"}[got.Parity])
	}
	if (got.StopBits == 2) != (want.StopBits == 2) {
		kept = append(kept, map[bool]string{false: "1 stop bit", true: "2 stop bits"}[got.StopBits == 2])
	}
	if kept == nil {
		return nil
	}
	err := fmt.Errorf("the driver kept %s", strings.Join(kept, ", "))
	if want.DataBits == 7 && want.Parity == 'E' {
		err = fmt.Errorf("%w; write serial: %d 8N1 at an IEC 62056-21 meter in the site file: 7E1 is emulated on 8N1", err, want.Baud)
	}
	return err
}

var errNoRS485 = errors.New("its driver does not switch the direction of an RS-485 line; going on without, as where the hardware does it")

// settingsError says that the port works, but not so.
type settingsError struct {
	path     string
	settings drivers.Settings
	err      error
}

func (e *settingsError) Error() string {
	return fmt.Sprintf("set %v on %s: %v", e.settings, e.path, e.err)
}
func (e *settingsError) Unwrap() error { return e.err }
