package configs

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/tallystick/tallystick/buffer/vfs/private"
	"github.com/tallystick/tallystick/configs/strict"
)

// maxSecret is the largest secret file, in bytes.
const maxSecret = 4096

// ReadSecret reads a password from a file that holds nothing else; the line
// end after it does not count. The file must be closed to others and not
// writable by its group: mode 0600, 0400 or 0640. Its errors are strict.Fault,
// and none of them shows the secret.
func ReadSecret(path string) (string, error) {
	secret, p := readSecret(path)
	if p != nil {
		return "", strict.Pos{File: path}.Fault(*p)
	}
	return secret, nil
}

func readSecret(path string) (string, *strict.Problem) {
	refuse := func(p strict.Problem) (string, *strict.Problem) { return "", &p }
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not block
	if err != nil {
		return refuse(secretProblem(path, err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return refuse(secretProblem(path, err))
	}
	if !info.Mode().IsRegular() {
		return refuse(strict.Problem{Code: CodeNotAFile, Msg: "this is not a file, expected one that holds a password", Hint: "see what it is: ls -l " + shell(path)})
	}
	if how, err := private.Exposed(path, 0o037); err != nil {
		return refuse(secretProblem(path, err))
	} else if how != "" {
		return refuse(strict.Problem{Code: CodeExposed, Msg: fmt.Sprintf("the password can be read or changed by others: %s", how),
			Hint: private.Close(shell(path)) + ", and change the password"})
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return refuse(secretProblem(path, err))
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	switch {
	case len(b) > maxSecret:
		return refuse(strict.Problem{Code: CodeExposed, Msg: fmt.Sprintf("the file has more than %d bytes, expected only a password", maxSecret)})
	case secret == "":
		return refuse(strict.Problem{Code: CodeExposed, Msg: "the file is empty, expected a password", Hint: "write the password into it, alone on one line"})
	case strings.ContainsAny(secret, "\n\r\x00"):
		return refuse(strict.Problem{Code: CodeExposed, Msg: "the file has more than one line, expected only a password", Hint: "write the password into it, alone on one line"})
	}
	return secret, nil
}

// secretProblem is openProblem with the hints that suit a secret.
func secretProblem(path string, err error) strict.Problem {
	p := openProblem(path, err)
	switch p.Code {
	case CodeMissingFile:
		p.Hint = "write the password into it, alone on one line, and: chmod 600 " + shell(path)
	case CodePermission:
		p.Hint = "give it to the service's user: chown"
	}
	return p
}

// CheckFiles reads the password files of all lenders and returns what is wrong
// with them, at the places that name them. TLS files are checked where they
// are loaded (uplink/mqtt).
func (s *Site) CheckFiles() []strict.Fault {
	var faults []strict.Fault
	for i := range s.Lenders {
		faults = append(faults, s.checkSecret(&s.Lenders[i].PasswordFile)...)
	}
	return faults
}

// CheckFiles is Site.CheckFiles for the watcher's own password file.
func (w *Watch) CheckFiles() []strict.Fault { return w.checkSecret(&w.PasswordFile) }

func (f File) checkSecret(path *string) []strict.Fault {
	if *path == "" {
		return nil
	}
	_, p := readSecret(*path)
	if p == nil {
		return nil
	}
	p.Msg = *path + ": " + p.Msg
	return []strict.Fault{f.Position(path).Fault(*p)}
}
