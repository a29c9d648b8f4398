//go:build unix

package desk

import (
	"os"
	"syscall"
)

// handOver gives a file that root made to the owner of dir, who is to read it.
func handOver(name, dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return os.Chown(name, int(s.Uid), int(s.Gid))
	}
	return nil
}
