package verify

import (
	"iter"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// Frames walks the raw frames of the window, meter by meter, where this lender
// was given them. Times are ms after the window's start (Result.From).
func (w *Window) Frames() iter.Seq2[evidence.Meter, *evidence.Frames] {
	return func(yield func(evidence.Meter, *evidence.Frames) bool) {
		for i := range w.blocks {
			b := &w.blocks[i]
			if b.Channel != evidence.RawFrames {
				continue
			}
			for m, cm := range w.dict.Channels[b.Channel] {
				if !yield(w.dict.Meters[cm.Meter], b.Meters[m].Frames) {
					return
				}
			}
		}
	}
}
