package verify

import (
	"slices"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// attack is a lie that exactly one check stands against: with all checks the
// result is verdict and code, without that one check it is not.
type attack struct {
	check   string
	verdict Verdict
	code    string
	setup   func(t *testing.T) (v *Verifier, delivery []byte)
}

func attacks() []attack {
	// at follows a stream of three windows up to leaf n and hands the
	// original of leaf n to edit.
	at := func(n int, edit func(t *testing.T, l *liar)) func(*testing.T) (*Verifier, []byte) {
		return func(t *testing.T) (*Verifier, []byte) {
			s := evidencetest.NewStream(t, 1, 3)
			return follow(t, s.Meta, s.Deliveries[:n]...), lie(t, s.Deliveries[n], 1, func(l *liar) { edit(t, l) })
		}
	}
	seqs := func(seq uint64) map[uint64]uint64 { return map[uint64]uint64{1: seq, 3: seq, 6: seq} }
	return []attack{
		{"genesis key", WrongKey, "key-not-pinned", func(t *testing.T) (*Verifier, []byte) {
			s := evidencetest.NewStream(t, 1, 0)
			return follow(t, nil), lie(t, s.Deliveries[0], 1, func(l *liar) {
				l.payload[22].(map[any]any)[uint64(2)] = pub(2).Bytes()
			})
		}},
		{"signature", Altered, "signature", func(t *testing.T) (*Verifier, []byte) {
			s := evidencetest.NewStream(t, 1, 3)
			return follow(t, s.Meta, s.Deliveries[:3]...), lie(t, s.Deliveries[3], 2, func(*liar) {})
		}},
		{"rotation", Forked, "rotation-uncommitted", func(t *testing.T) (*Verifier, []byte) {
			s := evidencetest.NewStreamOf(t, evidencetest.Signer(1), evidencetest.Signer(3), 1)
			s.Rotate(t, evidencetest.Signer(3), evidencetest.Signer(4))
			thief := evidencetest.Signer(5).Public()
			return follow(t, nil, s.Deliveries[:3]...), lie(t, s.Deliveries[3], 1, func(l *liar) {
				l.payload[22].(map[any]any)[uint64(2)] = thief.Public
			})
		}},
		{"counter", Unreadable, "counter", func(t *testing.T) (*Verifier, []byte) {
			s := counted(t, 5)
			return follow(t, s.Meta, s.Deliveries[:3]...), lie(t, s.Deliveries[3], 1, func(l *liar) {
				l.payload[61].([]any)[1].([]byte)[100] ^= 1
			})
		}},
		{"log", WrongKey, "other-log", at(3, func(t *testing.T, l *liar) { l.payload[2].([]byte)[0] ^= 1 })},
		{"known index", Replayed, "replayed", func(t *testing.T) (*Verifier, []byte) {
			s := evidencetest.NewStream(t, 1, 3)
			return follow(t, s.Meta, s.Deliveries...), s.Deliveries[3]
		}},
		{"known index", Forked, "second-leaf", func(t *testing.T) (*Verifier, []byte) {
			s := evidencetest.NewStream(t, 1, 3)
			return follow(t, s.Meta, s.Deliveries...), lie(t, s.Deliveries[3], 1, func(l *liar) { l.payload[9] = 999 })
		}},
		{"announced leaf", Forked, "second-leaf", func(t *testing.T) (*Verifier, []byte) {
			s, other := evidencetest.NewStream(t, 1, 1), evidencetest.NewStream(t, 1, 0)
			d, err := other.Writer.Config(evidencetest.Point(1), evidencetest.Small(), evidence.Hash{1})
			other.Add(t, d, err)
			return follow(t, other.Writer.Meta().Encode(), s.Deliveries[:2]...), s.Deliveries[2]
		}},
		{"contiguous index", Gap, "missing", func(t *testing.T) (*Verifier, []byte) {
			s := evidencetest.NewStream(t, 1, 3)
			return follow(t, s.Meta, s.Deliveries[:3]...), s.Deliveries[4]
		}},
		{"anchor", Gap, "anchor-mismatch", func(t *testing.T) (*Verifier, []byte) {
			s := evidencetest.NewStream(t, 1, 3)
			return follow(t, s.Meta), lie(t, s.Deliveries[3], 1, func(l *liar) {
				l.anchor = []any{3, [][]byte{make([]byte, 32), make([]byte, 32)}}
			})
		}},
		{"anchor", Forked, "anchor-fork", func(t *testing.T) (*Verifier, []byte) {
			s, other := evidencetest.NewStream(t, 1, 6), evidencetest.NewStream(t, 1, 0)
			other.Deliveries = append(other.Deliveries, nil) // another history: windows shifted by one
			for range 5 {
				other.Window(t)
			}
			anchor := other.Writer.Anchor()
			other.Window(t)
			d, err := evidence.FilterDelivery(nil, other.Deliveries[len(other.Deliveries)-1], record.Granted("", nil), &anchor)
			if err != nil {
				t.Fatal(err)
			}
			return follow(t, s.Meta, s.Deliveries[:4]...), d
		}},
		{"history root", Forked, "history-root", at(3, func(t *testing.T, l *liar) { l.payload[4].([]byte)[0] ^= 1 })},
		{"dictionary", Unreadable, "dictionary-index", at(3, func(t *testing.T, l *liar) { l.payload[11] = 1 })},
		{"channel set", Gap, "channel-missing", at(3, func(t *testing.T, l *liar) {
			delete(l.blocks, 1)
			l.digests(seqs(1))
		})},
		{"channel set", Unreadable, "channel-unknown", at(3, func(t *testing.T, l *liar) {
			l.blocks[5] = l.blocks[1]
			l.digests(map[uint64]uint64{1: 1, 3: 1, 6: 1, 5: 0})
			delete(l.blocks, 5)
		})},
		{"channel sequence", Gap, "channel-sequence", at(3, func(t *testing.T, l *liar) {
			l.reblock(t, 1, func(parts []any) { parts[2] = 7 })
			l.digests(map[uint64]uint64{1: 7, 3: 1, 6: 1})
		})},
		{"restart", Verified, "restart-unexplained", at(3, func(t *testing.T, l *liar) { l.payload[7] = []any{2, 5} })},
		{"block digest", Altered, "block-digest", func(t *testing.T) (*Verifier, []byte) {
			s := evidencetest.NewStream(t, 1, 3)
			d := slices.Clone(s.Deliveries[3])
			d[len(d)-1] ^= 2 // last value of the last block
			return follow(t, s.Meta, s.Deliveries[:3]...), d
		}},
		{"block digest", Altered, "block-unsigned", at(3, func(t *testing.T, l *liar) { l.blocks[2] = l.blocks[1] })},
		{"block form", Unreadable, "block-form", at(3, func(t *testing.T, l *liar) {
			l.reblock(t, 1, func(parts []any) { parts[3] = append(parts[3].([]byte), 0) })
			l.digests(seqs(1))
		})},
		{"block form", Unreadable, "block-header", at(3, func(t *testing.T, l *liar) {
			l.reblock(t, 1, func(parts []any) { parts[2] = 9 })
			l.digests(seqs(1))
		})},
	}
}

func TestEachCheckStandsAlone(t *testing.T) {
	covered := map[string]bool{}
	for _, a := range attacks() {
		covered[a.check] = true
		t.Run(a.check+"/"+a.code, func(t *testing.T) {
			v, d := a.setup(t)
			if res := v.Next(d, soon(d)); res.Verdict != a.verdict || !has(res, a.code) {
				t.Errorf("with all checks: %s %v, want %s with %s", res.Verdict, res.Reasons, a.verdict, a.code)
			} else if res.Window != nil && !res.Verdict.Accepted() {
				t.Errorf("%s, and yet a window", res.Verdict)
			}
			v, d = a.setup(t)
			without := func(c check) bool { return c.name == a.check }
			v.leafChecks = slices.DeleteFunc(v.leafChecks, without)
			v.blockChecks = slices.DeleteFunc(v.blockChecks, without)
			if res := v.Next(d, soon(d)); res.Verdict == a.verdict && has(res, a.code) {
				t.Errorf("without the check %q the result is the same: %s %v", a.check, res.Verdict, res.Reasons)
			}
		})
	}
	for _, c := range slices.Concat(leafChecks(), blockChecks()) {
		if !covered[c.name] {
			t.Errorf("no attack shows what the check %q is for", c.name)
		}
	}
}

// TestFiveVerdicts: the five ways to cheat a lender, five different words.
func TestFiveVerdicts(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 4)
	foreign := evidencetest.NewStream(t, 2, 4)
	edited := slices.Clone(s.Deliveries[3])
	edited[len(edited)-1] ^= 2
	second := evidencetest.NewStream(t, 1, 0)
	second.Deliveries = append(second.Deliveries, nil)
	second.Window(t) // leaf 2 with the readings of window 1

	tests := []struct {
		name     string
		follow   int
		delivery []byte
		want     Verdict
	}{
		{"wrong key", 3, foreign.Deliveries[3], WrongKey},
		{"edited block", 3, edited, Altered},
		{"replayed window", 4, s.Deliveries[3], Replayed},
		{"dropped window", 3, s.Deliveries[4], Gap},
		{"second history for the same index", 4, second.Deliveries[3], Forked},
	}
	seen := map[Verdict]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := follow(t, s.Meta, s.Deliveries[:tt.follow]...)
			before := v.State()
			res := v.Next(tt.delivery, soon(tt.delivery))
			if res.Verdict != tt.want {
				t.Fatalf("%s %v, want %s", res.Verdict, res.Reasons, tt.want)
			}
			seen[res.Verdict] = true
			for _, r := range res.Reasons {
				if r.En == "" || r.Zh == "" || r.En == r.Code {
					t.Errorf("reason %q has no words", r.Code)
				}
			}
			if moved := string(v.State()) != string(before); moved != res.Verdict.Accepted() {
				t.Errorf("%s: state moved: %v", res.Verdict, moved)
			}
			if !res.Verdict.Accepted() && (res.Grade != GradeX || res.Window != nil || res.Readings != 0) {
				t.Errorf("%s with grade %s, %d readings, window %v", res.Verdict, res.Grade, res.Readings, res.Window)
			}
		})
	}
	if len(seen) != 5 {
		t.Errorf("%d different verdicts, want 5", len(seen))
	}
}
