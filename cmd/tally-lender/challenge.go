package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/lender"
	"github.com/tallystick/tallystick/uplink/report"
)

func newChallengeCommand() *cobra.Command {
	var ask asking
	var meter string
	var wait, asJSON bool
	ranges := make([][]string, evidence.InputRegisters+1) // by table
	c := &cobra.Command{
		Use:   "challenge BOX --meter METER --holding 0x0010+2",
		Short: "Have registers of a meter read now; the answer is signed into the history",
		Long: `Sends a signed request to a box of the lender file: registers to read now, at most
8 ranges of a Modbus meter, addresses from 0 as on the wire. The box reads them
between two polls, only where the meter's profile marks them readable, and signs
what the meter sent into its history; the answer comes with the feed, and a
running watch prints and keeps it. With --wait this command follows the feed too
and prints the answer; its place in the history is for watch to check.

  tally-lender challenge plant-7 --meter press-1 --input 0x0000+2 --input 0x0156+2 --wait

` + cli.ExitCodes,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			reads, err := parseReads(meter, ranges)
			if err != nil {
				return err
			}
			return ask.with(cmd, args[0], func(ctx context.Context, b *asked) error {
				if !wait {
					nonce, err := b.Challenge(ctx, b.log.Log, reads)
					if err == nil {
						fmt.Fprintf(cmd.ErrOrStderr(), "challenge %x is sent to box %s; the answer comes with the feed, in a leaf of type answer: tally-lender watch prints it\n", nonce, b.name)
					}
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "waiting for the answer of box %s, at most %v\n", b.name, ask.timeout)
				got, err := b.Ask(ctx, b.log, b.key, reads)
				if errors.Is(err, lender.ErrNoAnswer) {
					return &cli.Error{Exit: cli.Environment, Code: "E-327", Text: fmt.Sprintf("no answer of box %s came within %v", b.name, ask.timeout),
						Hint: "an answer comes with the next window: wait longer with --timeout; where no watch confirms what comes before it, start tally-lender watch; a box that still answers another challenge does not take this one"}
				}
				if err != nil {
					return err
				}
				return printAnswer(cmd.OutOrStdout(), &got, asJSON)
			})
		},
	}
	ask.flags(c, 3*time.Minute)
	c.Flags().StringVar(&meter, "meter", "", "name of the meter")
	c.Flags().StringArrayVar(&ranges[evidence.HoldingRegisters], "holding", nil, "holding registers, address+count (repeatable)")
	c.Flags().StringArrayVar(&ranges[evidence.InputRegisters], "input", nil, "input registers (repeatable)")
	c.Flags().StringArrayVar(&ranges[evidence.Coils], "coil", nil, "coils (repeatable)")
	c.Flags().StringArrayVar(&ranges[evidence.DiscreteInputs], "discrete", nil, "discrete inputs (repeatable)")
	c.Flags().BoolVar(&wait, "wait", false, "follow the feed until the answer is there, and print it")
	c.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON on stdout")
	return c
}

// parseReads reads the ranges given for each table.
func parseReads(meter string, ranges [][]string) (reads []evidence.RegisterRead, err error) {
	if meter == "" {
		return nil, cli.UsageError("name the meter to read: --meter press-1")
	}
	for table, rs := range ranges {
		for _, r := range rs {
			address, count, _ := strings.Cut(r, "+")
			if count == "" {
				count = "1"
			}
			at, err1 := strconv.ParseUint(address, 0, 16)
			n, err2 := strconv.ParseUint(count, 0, 16)
			if err1 != nil || err2 != nil || n == 0 || n > evidence.MaxReadCount || at+n > 1<<16 {
				return nil, cli.UsageError("%q: write an address and how many, at most %d below address 65536, as in 0x0010+2", r, evidence.MaxReadCount)
			}
			reads = append(reads, evidence.RegisterRead{Meter: meter, Table: evidence.RegisterTable(table), Address: at, Count: n})
		}
	}
	if len(reads) == 0 || len(reads) > evidence.MaxReads {
		return nil, cli.UsageError("%d ranges are given; give 1 to %d, as in --holding 0x0010+2", len(reads), evidence.MaxReads)
	}
	return reads, nil
}

// readLine is one read of an answer in JSON.
type readLine struct {
	Meter   string   `json:"meter"`
	Table   string   `json:"table"`
	Address uint64   `json:"address"`
	Count   uint64   `json:"count"`
	Time    string   `json:"time"`
	Code    string   `json:"code"`
	Data    string   `json:"data"`      // hex, as on the wire
	Numbers []uint16 `json:"registers"` // null for coils and discrete inputs
}

func printAnswer(out io.Writer, got *lender.Answered, asJSON bool) error {
	if asJSON {
		lines := []readLine{}
		for i := range got.Reads {
			r := &got.Reads[i]
			lines = append(lines, readLine{r.Meter, report.Table(r.Table), r.Address, r.Count, time.UnixMilli(r.At).UTC().Format(stamp), r.Code.String(), fmt.Sprintf("%x", r.Data), r.Registers()})
		}
		return json.NewEncoder(out).Encode(struct {
			N     uint64     `json:"n"`
			Time  string     `json:"time"`
			Nonce string     `json:"nonce"`
			Reads []readLine `json:"reads"`
		}{got.N, got.At.UTC().Format(stamp), fmt.Sprintf("%x", got.Nonce), lines})
	}
	fmt.Fprintf(out, "leaf %d, %s\n", got.N, got.At.Local().Format(time.DateTime))
	for i := range got.Reads {
		r := &got.Reads[i]
		line := report.Read(r, report.English)
		if zh := report.Read(r, report.Chinese); zh != line {
			line += " / " + zh
		}
		if _, err := fmt.Fprintf(out, "  %s  %s\n", time.UnixMilli(r.At).Local().Format("15:04:05.000"), line); err != nil {
			return err
		}
	}
	return nil
}
