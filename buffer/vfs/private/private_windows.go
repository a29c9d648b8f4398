package private

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Mkdir makes a directory that only its maker, the system and administrators may
// use; what is made in it later inherits that.
func Mkdir(dir string) error {
	sa, err := attributes("OICI")
	if err != nil {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	name, err := windows.UTF16PtrFromString(dir)
	if err == nil {
		err = windows.CreateDirectory(name, sa)
	}
	if err != nil {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return nil
}

// CreateTemp is os.CreateTemp for a file that only its maker, the system and
// administrators may use, from its first moment: who had it open before it were
// closed to him could still read what is written later.
func CreateTemp(dir, pattern string) (*os.File, error) {
	before, after, _ := strings.Cut(pattern, "*")
	path := filepath.Join(dir, before+rand.Text()+after)
	sa, err := attributes("")
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: err}
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: err}
	}
	h, err := windows.CreateFile(name, windows.GENERIC_READ|windows.GENERIC_WRITE, windows.FILE_SHARE_READ,
		sa, windows.CREATE_NEW, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}

// attributes are a protected access control list, which inherits nothing from
// the directory above, and this user as the owner: an administrator's files would
// otherwise belong to all of them, and not to him when he is none for once.
func attributes(inherit string) (*windows.SecurityAttributes, error) {
	user, err := currentUser()
	if err != nil {
		return nil, err
	}
	sd, err := windows.SecurityDescriptorFromString(fmt.Sprintf("O:%[2]sD:P(A;%[1]s;FA;;;SY)(A;%[1]s;FA;;;BA)(A;%[1]s;FA;;;%[2]s)", inherit, user))
	if err != nil {
		return nil, err
	}
	return &windows.SecurityAttributes{Length: uint32(unsafe.Sizeof(windows.SecurityAttributes{})), SecurityDescriptor: sd}, nil
}

func currentUser() (*windows.SID, error) {
	u, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, err
	}
	return u.User.Sid, nil
}

// exposing are the rights with which a secret is none, or its file another's.
const exposing = windows.FILE_READ_DATA | windows.FILE_WRITE_DATA | windows.FILE_APPEND_DATA |
	windows.WRITE_DAC | windows.WRITE_OWNER | windows.GENERIC_ALL | windows.GENERIC_READ | windows.GENERIC_WRITE

// Exposed says how others may use the file at path, "" when they may not. Its
// owner, this user, the system and administrators are no others. A file system
// without access control lists (FAT) is open to all.
func Exposed(path string, _ fs.FileMode) (how string, err error) {
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return "", &fs.PathError{Op: "read access control list of", Path: path, Err: err}
	}
	owner, _, err := sd.Owner()
	if err != nil {
		return "", &fs.PathError{Op: "read owner of", Path: path, Err: err}
	}
	user, err := currentUser()
	if err != nil {
		return "", err
	}
	list, _, err := sd.DACL()
	if errors.Is(err, windows.ERROR_OBJECT_NOT_FOUND) || err == nil && list == nil {
		return "no access control list, expected one for its owner alone", nil
	}
	if err != nil {
		return "", &fs.PathError{Op: "read access control list of", Path: path, Err: err}
	}
	for i := range uint32(list.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(list, i, &ace); err != nil {
			return "", &fs.PathError{Op: "read access control list of", Path: path, Err: err}
		}
		switch {
		case ace.Header.AceType == windows.ACCESS_DENIED_ACE_TYPE, ace.Header.AceFlags&windows.INHERIT_ONLY_ACE != 0:
			continue
		case ace.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE:
			return fmt.Sprintf("an access control entry of type %d, expected plain ones", ace.Header.AceType), nil
		case ace.Mask&exposing == 0:
			continue
		}
		sid := (*windows.SID)(unsafe.Pointer(&ace.SidStart))
		if !sid.Equals(owner) && !sid.Equals(user) && !sid.IsWellKnown(windows.WinLocalSystemSid) &&
			!sid.IsWellKnown(windows.WinBuiltinAdministratorsSid) && !sid.IsWellKnown(windows.WinCreatorOwnerRightsSid) {
			return fmt.Sprintf("access for %s, expected its owner alone", account(sid)), nil
		}
	}
	return "", nil
}

// account is the name of who has the identifier, or the identifier.
func account(sid *windows.SID) string {
	name, domain, _, err := sid.LookupAccount("")
	if err != nil {
		return sid.String()
	}
	return domain + `\` + name
}

// Close is the command with which an administrator closes the file at path to
// others: what is inherited goes, the system and administrators stay. Their
// identifiers are the same in every language.
func Close(path string) string {
	return fmt.Sprintf(`icacls "%s" /inheritance:r /grant:r *S-1-5-18:F *S-1-5-32-544:F`, path)
}
