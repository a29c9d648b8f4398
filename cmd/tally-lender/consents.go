package main

import (
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/lender"
	"github.com/tallystick/tallystick/uplink/verify"
)

// consents are the newest consents this lender was shown, by log. They belong to
// the lender's goroutine.
type consents map[evidence.LogID]record.Consent

// keptConsents are those of earlier runs.
func keptConsents(w *configs.Watch) (consents, error) {
	held := consents{}
	for i := range w.Boxes {
		kept, err := lender.Survey(w.Directory, string(w.Boxes[i].Name))
		if err != nil {
			return nil, err
		}
		for _, k := range kept {
			if r, err := record.ParseBody(k.Consent); err == nil {
				if c, err := r.Consent(); err == nil {
					held[k.Log] = c
				}
			}
		}
	}
	return held, nil
}

// beyond takes a result and says, as a note, when it holds readings that the
// consent shown before it does not cover: they are not this lender's to use.
func (c consents) beyond(r *verify.Result) (note verify.Reason, any bool) {
	if r.Record != nil && r.Type == evidence.ConsentLeaf {
		if now, err := r.Record.Consent(); err == nil {
			c[r.Log] = now
		}
	}
	now, known := c[r.Log]
	if !known || r.Window == nil {
		return note, false
	}
	var names []string
	for _, ch := range r.Window.Channels() {
		if now.Terms == nil || !slices.Contains(now.Scope.Channels, ch) || !within(now.Terms, r.From) {
			names = append(names, ch.String())
		}
	}
	if len(names) == 0 {
		return note, false
	}
	list := strings.Join(names, ", ")
	return verify.Reason{Code: "beyond-consent", En: "not covered by the consent in force: " + list + "; do not use it", Zh: "超出现行同意的范围:" + list + ";请勿使用"}, true
}

// within reports whether a window that begins at the given time is of the
// consent's time.
func within(t *record.Terms, at time.Time) bool {
	ms := at.UnixMilli()
	return ms >= t.Term.From-int64(t.Scope.History) && ms < t.Term.Until
}
