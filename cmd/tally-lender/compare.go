package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/verify"
)

func newCompareCommand() *cobra.Command {
	var trust trust
	var proof string
	var asJSON bool
	c := &cobra.Command{
		Use:   "compare A B",
		Short: "See whether a box has shown two lenders one history",
		Long: `Reads two bundles or archives of one log side by side. They need not hold the
same channels: every leaf is the same for all lenders. Where the box has signed
two different leaves for one index, the two together are written as a proof that
anybody can check with "tally-lender verify" and the box's public key.

Where a box went on in another log, under a key of another suite or kept elsewhere,
A is the whole end of the first log and B the second: it checks that the one names
the key of the other under signature, and the other where the one ended.

Exit code 0 they agree, 1 they have no leaf in common, 4 forked, 3 no bundle.

` + cli.ExitCodes,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := open(args[0])
			if err != nil {
				return err
			}
			defer a.Close()
			b, err := open(args[1])
			if err != nil {
				return err
			}
			defer b.Close()
			policy, assumed, done, err := trust.policyFor(a, cmd.ErrOrStderr())
			defer done()
			if err != nil {
				return err
			}
			key, err := boxKey(a, policy)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if !assumed.IsZero() {
				r := verify.KeyAssumed(assumed)
				fmt.Fprintf(cmd.ErrOrStderr(), "  ? %s\n    %s\n", r.En, r.Zh)
			}
			found, err := verify.Compare(key, a, b)
			if errors.Is(err, verify.ErrOtherLog) {
				return succession(cmd, a, b, policy, asJSON)
			}
			if err != nil {
				return fmt.Errorf("compare %s with %s: %w", args[0], args[1], err)
			}
			if asJSON {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(found); err != nil {
					return err
				}
			}
			return compared(cmd.ErrOrStderr(), found, proof)
		},
	}
	trust.flags(c)
	c.Flags().StringVar(&proof, "proof", "tally.fork", "where to write the proof of a fork")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON on stdout")
	return c
}

// succession tells whether the log of next continues that of old, which must be
// whole at its end.
func succession(cmd *cobra.Command, old, next *os.File, policy verify.Policy, asJSON bool) error {
	for _, f := range []*os.File{old, next} {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	heir, err := verify.Succession(old, next, policy)
	if errors.Is(err, verify.ErrNoSuccession) && oneKey(old, next) {
		return &cli.Error{Exit: cli.NotVerified, Code: "E-419", Text: fmt.Sprintf("%s and %s are two logs that one key has opened", old.Name(), next.Name()),
			Hint: "see what the genesis of the newer one says of the older: tally-lender show FILE --leaf 0; without a declaration of loss there may be two boxes with one key, or a copy put back: ask for an explanation"}
	}
	if errors.Is(err, verify.ErrNoSuccession) {
		return &cli.Error{Exit: cli.NotVerified, Code: "E-419", Text: fmt.Sprintf("%s and %s are of different logs, and %v", old.Name(), next.Name(), err),
			Hint: "export the whole end of the first log: tallystick log export; if it is whole, ask for an explanation and pin nothing"}
	}
	if err != nil {
		return fmt.Errorf("compare %s with %s: %w", old.Name(), next.Name(), err)
	}
	if asJSON {
		if err := json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{"continues_under": heir.String()}); err != nil {
			return err
		}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "the second log continues the first, each says so under signature; its key to pin: %s / 第二份日志是第一份的延续，双方均有签名为证；应登记的密钥：%s\n", heir, heir)
	return nil
}

// oneKey reports whether the genesis leaves of two bundles name one key.
func oneKey(files ...*os.File) bool {
	var keys []evidence.PublicKey
	for _, f := range files {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return false
		}
		r, err := bundle.NewReader(f)
		if err != nil {
			return false
		}
		genesis, err := evidence.ParseLeaf(r.Header().Genesis)
		if err != nil || genesis.Manifest.Genesis == nil {
			return false
		}
		keys = append(keys, genesis.Manifest.Genesis.Key.Key())
	}
	return keys[0] == keys[1]
}

// compared tells what was found.
func compared(w io.Writer, c verify.Comparison, proof string) error {
	switch {
	case c.Proof != nil:
		if err := os.WriteFile(proof, c.Proof.Encode(), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(w, "forked (%s): %s\n  %s\nproof in %s: tally-lender verify %s --key KEY\n", verify.Forked.Chinese(), c.Reason.En, c.Reason.Zh, proof, proof)
		return &cli.Error{Exit: cli.NotVerified}
	case c.Common == 0:
		fmt.Fprintln(w, "the two have no leaf in common, so nothing can be said / 两份文件没有共同的记录，无法比对")
		return &cli.Error{Exit: cli.Fault}
	}
	fmt.Fprintf(w, "the two agree on %d leaves, %d to %d / 两份文件的 %d 条记录（%d 至 %d）一致\n", c.Common, c.Lo, c.Hi, c.Common, c.Lo, c.Hi)
	return nil
}

// boxKey is the pinned key of the bundle's log, which is left at its start.
func boxKey(f *os.File, policy verify.Policy) (key evidence.PublicKey, err error) {
	r, err := bundle.NewReader(f)
	if err != nil {
		return key, err
	}
	genesis, err := evidence.ParseLeaf(r.Header().Genesis)
	if err != nil {
		return key, err
	}
	key, ok := policy.KeyFor(&genesis.Manifest)
	if !ok {
		return key, verify.ErrWrongKey
	}
	_, err = f.Seek(0, io.SeekStart)
	return key, err
}

// checkFraud checks a fraud proof; ok is false where the file is none.
func (t *trust) checkFraud(f *os.File, stdout, stderr io.Writer, asJSON bool) (ok bool, err error) {
	start := make([]byte, 16)
	n, err := io.ReadFull(f, start)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return false, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	if !bundle.IsFraudProof(start[:n]) {
		return false, nil
	}
	b, err := io.ReadAll(io.LimitReader(f, 3*evidence.MaxDelivery))
	if err != nil {
		return true, err
	}
	p, err := bundle.ParseFraudProof(b)
	if err != nil {
		return true, err
	}
	boxes, _, err := t.believed(stderr)
	if err != nil {
		return true, err
	}
	meta, err := evidence.ParseMeta(p.Meta)
	if err != nil {
		return true, err
	}
	claimed := meta.Genesis.Manifest.Genesis.Key.Key()
	assumptions := []verify.Reason{}
	if len(boxes) == 0 {
		boxes, assumptions = append(boxes, claimed), append(assumptions, verify.KeyAssumed(claimed))
	}
	policy := verify.Policy{Pinned: boxes}
	key, known := policy.KeyFor(&meta.Genesis.Manifest)
	if !known {
		return true, &cli.Error{Exit: cli.NotVerified, Code: "E-415", Text: fmt.Sprintf("%s is about key %s, which is not believed", f.Name(), claimed),
			Hint: "give the key that was pinned when the box was commissioned: --key"}
	}
	reason, err := verify.Fork(key, p)
	if err != nil {
		return true, &cli.Error{Exit: cli.Fault, Code: "E-416", Text: fmt.Sprintf("%s proves no fork: %v", f.Name(), err),
			Hint: "nothing follows from it against the box; look at where it came from"}
	}
	if asJSON {
		second, err := evidence.ParseDelivery(p.B)
		if err == nil {
			err = json.NewEncoder(stdout).Encode(verify.Summary{Verdict: verify.Forked, Log: meta.Genesis.Manifest.Log, Grade: verify.GradeX,
				Grades: map[verify.Grade]uint64{}, Gaps: []verify.Lost{}, Altered: []verify.Fault{}, Refused: []verify.Fault{}, Faults: 1,
				Forks:   []verify.Fault{{N: second.Manifest.N, Verdict: verify.Forked, Reason: reason.En}},
				Reasons: []verify.Reason{reason}, Assumptions: assumptions})
		}
		if err != nil {
			return true, err
		}
	}
	fmt.Fprintf(stderr, "%s: forked (%s); log %s, key %s\n  - %s\n    %s\n", f.Name(), verify.Forked.Chinese(), meta.Genesis.Manifest.Log, key, reason.En, reason.Zh)
	for _, r := range assumptions {
		fmt.Fprintf(stderr, "  ? %s\n    %s\n", r.En, r.Zh)
	}
	return true, &cli.Error{Exit: cli.NotVerified}
}
