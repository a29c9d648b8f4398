package configs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tallystick/tallystick/configs/strict"
)

// Error is everything wrong with one file.
type Error struct {
	Faults []strict.Fault // in the order of the file; never empty
	data   []byte
}

// Error lists the faults, one a line.
func (e *Error) Error() string {
	all := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		all[i] = f.String()
	}
	return strings.Join(all, "\n")
}

// Render writes the faults for people, with source lines and carets.
func (e *Error) Render(w io.Writer) error { return strict.Render(w, e.data, e.Faults) }

// File is the file a configuration was read from.
type File struct {
	Path string // absolute
	data []byte
	at   *strict.Positions
}

// RenderFaults writes warnings or later faults about the file, with source
// lines and carets.
func (f File) RenderFaults(w io.Writer, faults []strict.Fault) error {
	return strict.Render(w, f.data, faults)
}

// Position is where the file gives a value: a pointer to a field of the Site
// or Watch, as for strict.Positions.
func (f File) Position(field any) strict.Pos { return f.at.Of(field) }

// Refuse makes later faults about the file an *Error like those of reading it;
// without faults it is nil.
func (f File) Refuse(faults []strict.Fault) error {
	if len(faults) == 0 {
		return nil
	}
	return &Error{faults, f.data}
}

// Profiles says which device profiles exist.
type Profiles interface {
	IDs() []string // in alphabetical order
	Profile(id string) (Profile, error)
}

// Profile is what a site file may say about one: the quantities it has, and
// the protocol it is for ("modbus", or the word of a Protocol).
type Profile struct {
	Protocol   string
	Quantities []string
}

// LoadSite reads and checks a site file. A fault comes back as an *Error with
// all the others. known is asked once for the profiles there are, with the
// directory the file names for more; its error is a fault of that key. With a
// nil one the names of profiles and quantities are not checked.
func LoadSite(path string, known func(dir string) (Profiles, error)) (*Site, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return parseSite(path, path, data, known)
}

// ParseSite is LoadSite of a file already read. path names it in messages, and
// relative paths in it start at its directory. With nil profiles the names of
// profiles and quantities are not checked.
func ParseSite(path string, data []byte, profiles Profiles) (*Site, error) {
	return parseSite(path, path, data, func(string) (Profiles, error) { return profiles, nil })
}

// parseSite reads data, found in the file named, as if it stood at path.
func parseSite(named, path string, data []byte, known func(dir string) (Profiles, error)) (*Site, error) {
	s := &Site{}
	c := decode(named, data, s)
	c.base = base(path)
	s.File = c.file
	if c.meaningful(s) {
		c.site(s, known)
	}
	s.Warnings = c.warnings
	return finish(c, s)
}

// finish returns what was read, or everything that is wrong with it.
func finish[T any](c *checker, v *T) (*T, error) {
	if len(c.faults) > 0 {
		return nil, &Error{strict.Limit(c.name, c.faults, 0), c.file.data}
	}
	return v, nil
}

// readFile reads a configuration file of reasonable size. Its errors are
// *Error.
func readFile(path string) ([]byte, error) {
	refuse := func(p strict.Problem) ([]byte, error) {
		return nil, &Error{Faults: []strict.Fault{strict.Pos{File: path}.Fault(p)}}
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not block
	if err != nil {
		return refuse(openProblem(path, err))
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return refuse(openProblem(path, err))
	case info.IsDir():
		return refuse(strict.Problem{Code: CodeNotAFile, Msg: "this is a directory, expected a file", Hint: "name the file in it: " + shell(filepath.Join(path, "tallystick.yaml"))})
	case !info.Mode().IsRegular():
		return refuse(strict.Problem{Code: CodeNotAFile, Msg: "this is a device or a pipe, expected a file", Hint: "see what it is: ls -l " + shell(path)})
	}
	data, err := io.ReadAll(io.LimitReader(f, strict.MaxBytes+1))
	switch {
	case err != nil:
		return refuse(openProblem(path, err))
	case len(data) > strict.MaxBytes:
		return refuse(strict.Problem{Code: strict.CodeLimit, Msg: fmt.Sprintf("the file has %d bytes, at most %d are read", info.Size(), strict.MaxBytes), Hint: "this is probably not the file you mean: ls -l " + shell(path)})
	}
	return data, nil
}

// openProblem says why a file cannot be opened or read.
func openProblem(path string, err error) strict.Problem {
	switch {
	case path == "":
		return strict.Problem{Code: CodeMissingFile, Msg: "no configuration file is named", Hint: "name it: --config FILE"}
	case errors.Is(err, fs.ErrNotExist):
		return strict.Problem{Code: CodeMissingFile, Msg: "the file does not exist", Hint: missingHint(path)}
	case errors.Is(err, fs.ErrPermission):
		return strict.Problem{Code: CodePermission, Msg: ThisUser() + " may not read the file", Hint: "run as the service's user, or: sudo chmod a+r " + shell(path)}
	case errors.Is(err, syscall.ELOOP):
		return strict.Problem{Code: CodeLoop, Msg: "the symbolic links of this path lead in a circle", Hint: "see where they lead: ls -l " + shell(path)}
	}
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		err = p.Err // the operation and the path are said already
	}
	return strict.Problem{Code: CodeRead, Msg: "the file cannot be read: " + err.Error(), Hint: "look at it: ls -l " + shell(path)}
}

// missingHint names what is there instead of a missing file.
func missingHint(path string) string {
	dir := filepath.Dir(path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "the directory " + dir + " cannot be read either: ls -ld " + shell(dir)
	}
	var files []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == ".yaml" || ext == ".yml" {
			files = append(files, e.Name())
		}
	}
	if near, ok := strict.Nearest(filepath.Base(path), files); ok {
		return "did you mean " + shell(filepath.Join(dir, near)) + "?"
	}
	return "begin with one of configs/examples in the source; tallystick scan prints the lines and meters of a site file"
}

// shell writes a path so that a command with it can be copied.
func shell(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// base is the directory relative paths in a file start at.
func base(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		abs = path // no working directory: relative paths stay relative
	}
	return filepath.Dir(abs)
}
