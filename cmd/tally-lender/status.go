package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/lender"
	"github.com/tallystick/tallystick/uplink/verify"
)

func newStatusCommand() *cobra.Command {
	var config string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how far each box is: newest leaf, what is waited for, forks, grades",
		Long: `Prints for each log of each box of the lender file the newest leaf that was kept
and how old it is, leaves that are waited for, proofs of two histories, whether the
box has begun another log, and how many windows of the last 24 hours have which
grade. It reads the whole archives, and a watch may run meanwhile.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, err := loadWatch(config, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			now := time.Now()
			logs, err := statusOf(w, config, now, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			for i := range logs {
				if asJSON {
					err = json.NewEncoder(cmd.OutOrStdout()).Encode(&logs[i])
				} else {
					err = logs[i].write(cmd.OutOrStdout(), now)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().StringVarP(&config, "config", "c", "lender.yaml", "lender file")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a log on stdout")
	return c
}

// logStatus is what a lender has of one log; times are UTC. Of a box nothing was
// received from there is one without a log.
type logStatus struct {
	Box    string  `json:"box"`
	Log    string  `json:"log,omitempty"`
	Newest *uint64 `json:"newest"`
	// End is when the newest leaf ended, by the box's clock.
	End     *time.Time `json:"newest_end"`
	Waiting *waited    `json:"waiting"`
	Forks   int        `json:"forks"`
	// Second says that the box had another log before, and Explained what its
	// genesis leaf says of it, "" for nothing.
	Second    bool                    `json:"second_log"`
	Explained string                  `json:"second_log_explained,omitempty"`
	Grades    map[verify.Grade]uint64 `json:"grades_24h"` // of windows that ended in the last 24 hours
}

type waited struct {
	Lo    uint64    `json:"lo"`
	Hi    uint64    `json:"hi"`
	Since time.Time `json:"since"`
}

func statusOf(w *configs.Watch, config string, now time.Time, stderr io.Writer) (all []logStatus, err error) {
	for i := range w.Boxes {
		box := string(w.Boxes[i].Name)
		logs, err := lender.Survey(w.Directory, box)
		if err != nil {
			return nil, err
		}
		if len(logs) == 0 {
			all = append(all, logStatus{Box: box, Grades: map[verify.Grade]uint64{}})
		}
		for i, k := range logs {
			s := logStatus{Box: box, Log: k.Log.String(), Forks: k.Forks, Second: i > 0, Grades: map[verify.Grade]uint64{}}
			if k.Waiting != nil {
				s.Waiting = &waited{k.Waiting.Lo, k.Waiting.Hi, k.Waiting.Since.UTC()}
			}
			if k.Prev != nil {
				s.Explained = fmt.Sprintf("%s, after %d leaves of log %s", k.Prev.Why, k.Prev.N, k.Prev.Log)
			}
			since := now.Add(-24 * time.Hour)
			_, err := (&trust{config: config}).check(k.Archive, nil, stderr, func(r verify.Result) error {
				if r.Verdict.Accepted() {
					s.Newest, s.End = &r.N, &r.To
				}
				if r.Type == evidence.WindowLeaf && r.To.After(since) {
					s.Grades[r.Grade]++
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
			all = append(all, s)
		}
	}
	return all, nil
}

func (s *logStatus) write(w io.Writer, now time.Time) error {
	ago := func(t time.Time) string {
		return fmt.Sprintf("%s, %v ago", t.Local().Format(time.DateTime), max(0, now.Sub(t)).Round(time.Second))
	}
	if s.Newest == nil {
		_, err := fmt.Fprintf(w, "box %s: nothing received yet\n", s.Box)
		return err
	}
	lines := []string{fmt.Sprintf("box %s, log %s: newest leaf %d, ended %s", s.Box, s.Log, *s.Newest, ago(*s.End))}
	if s.Waiting != nil {
		lines = append(lines, fmt.Sprintf("leaves %d to %d are waited for since %s", s.Waiting.Lo, s.Waiting.Hi, ago(s.Waiting.Since)))
	}
	if s.Forks > 0 {
		lines = append(lines, fmt.Sprintf("forked; proofs of two histories kept: %d", s.Forks))
	}
	if s.Second {
		why := "and does not say why"
		if s.Explained != "" {
			why = "and declares: " + s.Explained
		}
		lines = append(lines, "the box began this log beside another one, "+why)
	}
	var grades []string
	for _, g := range []verify.Grade{verify.GradeA, verify.GradeB, verify.GradeC, verify.GradeD, verify.GradeX} {
		if n := s.Grades[g]; n > 0 {
			grades = append(grades, fmt.Sprintf("%s %d", g, n))
		}
	}
	if len(grades) == 0 {
		grades = append(grades, "no window")
	}
	lines = append(lines, "last 24 hours, windows by grade: "+strings.Join(grades, ", "))
	_, err := fmt.Fprintln(w, strings.Join(lines, "\n  "))
	return err
}
