package technician

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/scan"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/line"
)

// run runs a command that needs no site file.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{Use: "tallystick"}
	root.AddCommand(Commands(func() (*configs.Site, error) { return nil, errors.New("no site file") }, slog.New(slog.DiscardHandler))...)
	return cli.Execute(ctx, root, args, stdout, stderr, nil)
}

// The port's direction stands in what scan prints as it was asked for.
func TestScanSectionKeepsRS485(t *testing.T) {
	rs485, err := switching("low")
	if err != nil {
		t.Fatal(err)
	}
	settings := drivers.Settings{Baud: 9600, DataBits: 8, Parity: 'N', StopBits: 1}
	got := scanSection(line.Config{Serial: &line.Serial{Path: "/dev/ttyS1", RS485: rs485}}, nil, []scan.Hit{{Protocol: "modbus-rtu", Address: "7", Settings: settings}})
	if want := "  - {name: line-1, port: /dev/ttyS1, serial: 9600 8N1, rs485: {rts_on_send: low}}\n"; !strings.Contains(got, want) {
		t.Errorf("%q is missing in\n%s", want, got)
	}
}
