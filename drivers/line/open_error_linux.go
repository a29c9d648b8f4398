package line

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Ports lists the serial ports of this machine without opening any, which would
// disturb a live bus: the names that survive replugging first.
func Ports() []string { return ports("/") }

// findHolder is how to see who uses the port at path.
func findHolder(path string) string {
	return "run `sudo fuser -v " + path + "` to see which, and stop it"
}

// openError finds out why path could not be opened.
func openError(path string, err error) *OpenError {
	e := &OpenError{Path: path, Err: plain(err)}
	var held heldError
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		e.Reason, e.Ports = Missing, ports("/")
	case errors.Is(err, fs.ErrPermission):
		e.Reason = Permission
		e.user, e.group = userName(), groupName(path)
	case errors.Is(err, unix.EBUSY):
		e.Reason, e.Holder = Busy, Holder(path)
	case errors.As(err, &held):
		e.Reason, e.Holder = Busy, cmp.Or(string(held), Holder(path))
	case errors.Is(err, unix.ENOTTY):
		e.Err = errors.New("is not a serial port")
	}
	return e
}

// Holder names another program that has the device at path open, as "mbmd (pid
// 812)". It returns "" when there is none, or none that this user may see.
func Holder(path string) string {
	device, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ""
	}
	self := strconv.Itoa(os.Getpid())
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != device {
			continue
		}
		pid := strings.Split(link, "/")[2]
		if pid == self {
			continue
		}
		if p := program(pid); p != "" {
			return p
		}
	}
	return ""
}

// program is "mbmd (pid 812)" of 812, "" when there is no such process.
func program(pid string) string {
	name, err := os.ReadFile("/proc/" + pid + "/comm")
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), pid)
}

// ports lists the serial ports under root ("/" except in tests) without opening
// any, which would disturb a live bus: the stable links first, then what sysfs
// knows to have hardware behind it. Adapters without a serial number of their
// own (CH340) share one link by id, which leads to either; where a port has none,
// the links by path are listed too.
func ports(root string) []string {
	list, byID := links(root, "by-id")
	paths, byPath := links(root, "by-path")
	for device := range byPath {
		if !byID[device] {
			list = append(list, paths...)
			break
		}
	}
	devices, _ := filepath.Glob(filepath.Join(root, "sys/class/tty/*/device"))
	slices.Sort(devices)
	for _, d := range devices {
		dir := filepath.Dir(d)
		// A driver reserves ttyS0..n and gives those without a UART type 0.
		if kind, err := os.ReadFile(filepath.Join(dir, "type")); err == nil && strings.TrimSpace(string(kind)) == "0" {
			continue
		}
		list = append(list, "/dev/"+filepath.Base(dir))
	}
	return list
}

// links lists the links of one kind, and the devices they lead to.
func links(root, kind string) (list []string, devices map[string]bool) {
	list, _ = filepath.Glob(filepath.Join(root, "dev/serial", kind, "*"))
	devices = map[string]bool{}
	for i, link := range list {
		if target, err := os.Readlink(link); err == nil {
			devices[filepath.Base(target)] = true
		}
		list[i] = "/" + strings.TrimPrefix(strings.TrimPrefix(link, root), "/")
	}
	return list, devices
}

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
}

// groupName names the group that may use path, "" when root alone may.
func groupName(path string) string {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o060 != 0o060 {
		return ""
	}
	gid := strconv.FormatUint(uint64(info.Sys().(*syscall.Stat_t).Gid), 10)
	if g, err := user.LookupGroupId(gid); err == nil {
		return g.Name
	}
	return gid
}
