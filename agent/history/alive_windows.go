package history

import (
	"errors"

	"golang.org/x/sys/windows"
)

// alive reports whether there is a process of that number.
func alive(pid int) bool {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return errors.Is(err, windows.ERROR_ACCESS_DENIED)
	}
	defer windows.CloseHandle(h)
	const stillActive = 259 // STATUS_PENDING: it has no exit code yet
	var code uint32
	return windows.GetExitCodeProcess(h, &code) == nil && code == stillActive
}
