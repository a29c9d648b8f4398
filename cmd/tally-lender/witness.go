package main

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/uplink/keyfile"
	"github.com/tallystick/tallystick/uplink/witness"
	"github.com/tallystick/tallystick/uplink/witness/checkpoint"
)

func newWitnessCommand() *cobra.Command {
	var dir, name, listen string
	var logs []string
	var verbose bool
	c := &cobra.Command{
		Use:   "witness",
		Short: "Cosign the checkpoints of boxes that show everybody one history",
		Long: `Answers C2SP tlog-witness requests: a box submits the newest checkpoint of its
log, and when it is proved to continue the last one this witness knows, it gets
a cosignature with the time. Two histories of one log are not cosigned; the
checkpoints that prove them are kept in the directory, as fork-*.

The key is made at the first run, in witness.key in the directory (mode 0600),
under the name given with --name; "tally-lender witness key" prints its public
half, the vkey that boxes and policies name. Keep the directory: a witness that
forgets what it has cosigned is none. A copy put back is as bad.

A log is given by the vkey of its box's checkpoints. Append ,sm3 when its tree
is hashed with SM3 instead of SHA-256.

It speaks plain HTTP. Run it behind a reverse proxy that does TLS and limits
how often somebody may ask; bodies of more than 64 KiB and slow requests are
refused here. SIGTERM lets requests under way finish.

  tally-lender witness --dir /var/lib/tally-witness --name witness.bank-a.example \
    --log tallystick.org/log/5f3c9a0d5e1b7f64a2c8d90b13e6f7a1+1b9c3d52+AQ... \
    --log tallystick.org/log/77e0c1d2b3a495867788990011223344+0c41d7aa+AQ...,sm3

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			known, err := parseLogs(logs)
			if err != nil {
				return err
			}
			key, vkey, err := witnessKey(dir, name)
			if err != nil {
				return err
			}
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			w, err := witness.Open(witness.Config{
				FS: vfs.OS(), Dir: dir, Key: key, Logs: known,
				Logger: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})),
			})
			if err != nil {
				return witnessError(err)
			}
			defer w.Close()
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return &cli.Error{Exit: cli.Environment, Text: err.Error(), Hint: "choose another address with --listen, or end the program that has this one"}
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "witness %s at http://%s for %d logs, state in %s\n", vkey, l.Addr(), len(known), dir)
			return w.Serve(cmd.Context(), l)
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:7380", "address to answer on")
	c.Flags().StringArrayVar(&logs, "log", nil, "vkey of a log to cosign for, with ,sm3 for an SM3 tree (repeatable)")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "log each cosignature")
	c.PersistentFlags().StringVar(&dir, "dir", "tally-witness", "directory of the key and of what was cosigned")
	c.PersistentFlags().StringVar(&name, "name", "", "name of the witness in its cosignatures, such as witness.bank-a.example; needed at the first run")
	c.AddCommand(&cobra.Command{
		Use:   "key",
		Short: "Print the vkey of this witness, making the key at the first run",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, vkey, err := witnessKey(dir, name)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), vkey)
			return nil
		},
	})
	return c
}

// parseLogs reads the values of --log.
func parseLogs(flags []string) ([]witness.Log, error) {
	if len(flags) == 0 {
		return nil, &cli.Error{Exit: cli.Usage, Text: "no log to cosign for is given", Hint: "add --log VKEY for each box"}
	}
	logs := make([]witness.Log, len(flags))
	for i, f := range flags {
		vkey, sm3 := strings.CutSuffix(f, ",sm3")
		logs[i].Tree = checkpoint.SHA256()
		if sm3 {
			logs[i].Tree = checkpoint.SM3()
		}
		var err error
		if logs[i].Key, err = checkpoint.LogVerifier(vkey); err != nil {
			return nil, &cli.Error{Exit: cli.Usage, Text: "--log: " + err.Error(), Hint: "copy the whole vkey of the box's checkpoints: NAME+ID+KEY"}
		}
		same := func(l witness.Log) bool { return l.Key.Name() == logs[i].Key.Name() }
		if slices.ContainsFunc(logs[:i], same) {
			return nil, cli.UsageError("--log: %s is given twice", logs[i].Key.Name())
		}
	}
	return logs, nil
}

// nameBlock holds the witness's name beside its key: one key has one name, or
// its cosignatures could be passed off as another's.
const nameBlock = "TALLYSTICK WITNESS NAME"

// witnessKey loads the key in dir, or makes it under the name given.
func witnessKey(dir, name string) (note.Signer, string, error) {
	path := filepath.Join(dir, "witness.key")
	key, further, err := keyfile.Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		if name == "" {
			return nil, "", &cli.Error{Exit: cli.Usage, Text: fmt.Sprintf("key file %s does not exist", path), Hint: "to make it give the witness a name: --name witness.bank-a.example; if there was one, name its directory with --dir"}
		}
		// No key is made for a name that no note can hold.
		if _, _, err := checkpoint.WitnessKey(name, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))); err != nil {
			return nil, "", &cli.Error{Exit: cli.Usage, Text: "--name: " + err.Error(), Hint: "choose one like a host's, without spaces and +: witness.bank-a.example"}
		}
		key, err = keyfile.Create(path, &pem.Block{Type: nameBlock, Bytes: []byte(name)})
		further = map[string][]byte{nameBlock: []byte(name)}
	}
	if err != nil {
		return nil, "", err
	}
	stored := string(further[nameBlock])
	if name != "" && name != stored {
		return nil, "", &cli.Error{Exit: cli.Usage, Text: fmt.Sprintf("the key in %s is that of witness %q, not %q", path, stored, name), Hint: "leave --name away, or name another directory for another witness"}
	}
	return checkpoint.WitnessKey(stored, key)
}

// witnessError says what to do when the state cannot be used.
func witnessError(err error) error {
	e := &cli.Error{Exit: cli.Environment, Text: err.Error()}
	var locked *vfs.LockedError
	var state *witness.StateError
	var unverified *note.UnverifiedNoteError
	switch {
	case errors.As(err, &locked):
		e.Hint = "end the other witness first: two cannot keep one memory"
	case errors.As(err, &unverified):
		e.Exit, e.Hint = cli.Usage, "this log was cosigned under another key: compare --log with what the box shows; a log that begins anew has another name"
	case errors.As(err, &state):
		e.Hint = "put no older copy in its place; when the file is lost make another witness, with a directory and key of its own"
	}
	return e
}
