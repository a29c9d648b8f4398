package configs

// Where things are when nobody says otherwise.
const (
	Installed        = `C:\ProgramData\Tallystick` // the site file
	DefaultDirectory = `C:\ProgramData\Tallystick\history`
	DefaultWatchDir  = `C:\ProgramData\Tally-lender`
)

// ThisUser is who runs this program, for messages.
func ThisUser() string { return "this user" }
