// Package service puts the program under a system's service manager: the commands
// that install, start and stop it there, and how it runs when the manager starts it.
package service

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kardianos/service"
	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/packaging"
)

const name = "tallystick" // of the service

// NewCommand is the command service. config is where the site file's path stands
// once the command line is read; load reads that file and has shown its faults
// when it returns an error.
func NewCommand(config *string, load func() (*configs.Site, error)) *cobra.Command {
	c := &cobra.Command{
		Use:   "service",
		Short: "Install, start or stop tallystick as a system service",
		Long: `Runs "tallystick run" under the system's service manager (systemd with a
hardened unit of our own, procd, OpenRC and others).`,
	}
	for _, s := range []struct {
		use, short string
		do         func(service.Service, io.Writer) error
	}{
		{"install", "Install the service, to start with the system", func(s service.Service, w io.Writer) error {
			if err := s.Install(); err != nil {
				return err
			}
			fmt.Fprintf(w, "installed %s under %s; start it with: tallystick service start\n", name, s.Platform())
			return nil
		}},
		{"uninstall", "Remove the service; the history and the key stay", func(s service.Service, _ io.Writer) error { return s.Uninstall() }},
		{"start", "Start the service", func(s service.Service, _ io.Writer) error { return s.Start() }},
		{"stop", "Stop the service; it seals the open window first", func(s service.Service, _ io.Writer) error { return s.Stop() }},
		{"status", "Say whether the service runs", status},
	} {
		c.AddCommand(&cobra.Command{
			Use: s.use, Short: s.short, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				directory := configs.DefaultDirectory
				if s.use == "install" { // a wrong file would only fail later, unseen
					site, err := load()
					if err != nil {
						return err
					}
					directory = site.Buffer.Directory
					if err := visible(site.Path); err != nil {
						return err
					}
				}
				svc, err := newService(*config, directory)
				if err != nil {
					return err
				}
				return explain(s.use, s.do(svc, cmd.ErrOrStderr()))
			},
		})
	}
	return c
}

// visible refuses what the service could not see once it runs: systemd hides
// home directories and temporary files from it (packaging, ProtectHome= and
// PrivateTmp=).
func visible(config string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	for _, path := range []string{exe, config} {
		for _, hidden := range []string{"/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/"} {
			if strings.HasPrefix(path, hidden) {
				return &cli.Error{Exit: cli.Usage, Code: "E-603", Text: fmt.Sprintf("the service would not see %s: what is below %s is hidden from it", path, hidden),
					Hint: "sudo install " + exe + " /usr/local/bin/ and sudo install -D -m 644 " + config + " /etc/tallystick/tallystick.yaml, then: sudo tallystick service install"}
			}
		}
	}
	return nil
}

func status(s service.Service, w io.Writer) error {
	st, err := s.Status()
	switch {
	case errors.Is(err, service.ErrNotInstalled):
		fmt.Fprintln(w, "not installed")
		return &cli.Error{Exit: cli.Fault, Hint: "tallystick service install"}
	case err != nil:
		return err
	case st == service.StatusRunning:
		fmt.Fprintln(w, "running")
		return nil
	}
	fmt.Fprintln(w, "stopped")
	return &cli.Error{Exit: cli.Fault, Hint: "tallystick service start"}
}

func explain(what string, err error) error {
	var known *cli.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	e := &cli.Error{Exit: cli.Environment, Code: "E-601", Text: fmt.Sprintf("%s service: %v", what, err)}
	switch {
	case os.Geteuid() > 0:
		e.Hint = "service commands need root: sudo tallystick service " + what
	case errors.Is(err, fs.ErrPermission): // Windows, where nobody has a number
		e.Hint = "service commands need an administrator: open the command prompt with Run as administrator, then: tallystick service " + what
	case errors.Is(err, service.ErrNoServiceSystemDetected):
		e.Hint = "no service manager found; run it yourself: tallystick run"
	}
	return e
}

// newService is the service as this system's manager sees it.
func newService(config, directory string) (service.Service, error) {
	c, err := describe(config, directory)
	if err != nil {
		return nil, err
	}
	return service.New(idle{}, c)
}

// describe tells what the service is, to any service manager; directory is
// where the agent keeps the copy of the last good site file.
func describe(config, directory string) (*service.Config, error) {
	path, err := filepath.Abs(config) // the manager starts us in another directory
	if err != nil {
		return nil, err
	}
	return &service.Config{
		Name:        name,
		DisplayName: "Tallystick",
		Description: "Tallystick meter evidence agent",
		Arguments:   []string{"run", "--config", path, "--last-good", directory},
		Option: service.KeyValue{
			"SystemdScript": packaging.SystemdUnit(),
			// What the unit says for systemd, for Windows.
			"OnFailure": "restart", "OnFailureDelayDuration": "5s",
		},
	}, nil
}

// idle stands for the program: these commands only talk to the manager, which
// starts "tallystick run" by itself.
type idle struct{}

func (idle) Start(service.Service) error { return nil }
func (idle) Stop(service.Service) error  { return nil }
