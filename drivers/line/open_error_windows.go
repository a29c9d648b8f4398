package line

import (
	"errors"
	"slices"

	"go.bug.st/serial"
	"golang.org/x/sys/windows"
)

// Ports lists the serial ports of this machine without opening any, which would
// disturb a live bus.
func Ports() []string {
	list, _ := serial.GetPortsList() // without the list an error says less
	slices.Sort(list)
	return list
}

// Holder names another program that has the device at path open. Windows does
// not tell.
func Holder(string) string { return "" }

// findHolder is how to see who uses the port at path.
func findHolder(string) string {
	return "stop it (often a configuration tool of the meter's or converter's maker that is still open)"
}

// openError finds out why path could not be opened. Only one program at a time
// can have a port open, and the next one is denied access
// (learn.microsoft.com, "Communications Resource Handles").
func openError(path string, err error) *OpenError {
	e := &OpenError{Path: path, Err: err}
	switch {
	case errors.Is(err, windows.ERROR_FILE_NOT_FOUND), errors.Is(err, windows.ERROR_PATH_NOT_FOUND):
		e.Reason, e.Ports = Missing, Ports()
	case errors.Is(err, windows.ERROR_ACCESS_DENIED), errors.Is(err, windows.ERROR_SHARING_VIOLATION):
		e.Reason = Busy
	case errors.Is(err, windows.ERROR_INVALID_FUNCTION), errors.Is(err, windows.ERROR_INVALID_HANDLE):
		e.Err = errors.New("is not a serial port")
	}
	return e
}
