package report

import (
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

// story is the log of a small factory from 2026-01-05 08:00 in China, in
// windows of half an hour with one poll each, in which much happens:
//
//   - day 1, 02:00 to 05:30: a power cut
//   - day 2, 22:00 to day 3, 03:00: stopped in order
//   - from day 2, 12:00 to day 4, 12:00 the compressor does not answer
//   - day 4, 10:00: the press gets another meter
//   - day 5: an hour of leaves is missing, one leaf is altered
//   - day 6: the clock was wrong by ten minutes
type story struct {
	evidencetest.Stream
	boot   uint64
	booted int // window of the last boot
	offset int64
	kWh    [3]int64
}

const storyMS = 1_800_000

var storyMeters = [...]string{"main", "press-1", "compressor"}

func storyDictionary() evidence.Dictionary {
	d := evidence.Dictionary{Channels: map[evidence.Channel][]evidence.ChannelMeter{}}
	for i, name := range storyMeters {
		d.Meters = append(d.Meters, evidence.Meter{Name: name, Profile: "sim", ProfileVersion: 1, IntervalMS: storyMS})
		d.Channels[evidence.Energy] = append(d.Channels[evidence.Energy], evidence.ChannelMeter{Meter: i,
			Columns: []evidence.Column{{Quantity: "energy_import", Unit: "kWh", Exp: -2, MulCoef: 1}}})
		d.Channels[evidence.Power] = append(d.Channels[evidence.Power], evidence.ChannelMeter{Meter: i,
			Columns: []evidence.Column{{Quantity: "power_active", Unit: "kW", Exp: -1, MulCoef: 1}}})
	}
	return d
}

func (s *story) event(k int) evidence.Event {
	e := evidencetest.Event(k, storyMS)
	e.Boot, e.UptimeMS = s.boot, uint64(k+1-s.booted)*storyMS
	e.Start += s.offset
	return e
}

func (s *story) point(k int) evidence.Event {
	e := s.event(k)
	e.Duration, e.UptimeMS = 0, uint64(k-s.booted)*storyMS
	return e
}

func (s *story) startAgain(t testing.TB, k int, clean bool) {
	s.boot, s.booted = s.boot+1, k
	d, err := s.Writer.Boot(s.point(k), evidence.Boot{Clean: clean, LastRecordedMS: evidencetest.Start, Software: "tallystick 0.1"})
	s.Add(t, d, err)
}

func (s *story) happen(t testing.TB, k int, kind, subject, quantity string) {
	d, err := s.Writer.Events(s.point(k), []evidence.Happening{{At: s.point(k).Start, Kind: kind, Subject: subject, Quantity: quantity, Count: 1}})
	s.Add(t, d, err)
}

// newStory tells the first days of it.
func newStory(t testing.TB, days int) [][]byte {
	t.Helper()
	s := &story{boot: 1, kWh: [3]int64{81_234_500, 1_200_000, 52_000}}
	w, genesis, err := seal.NewWriter(evidence.NewEd25519Signer(evidencetest.Key(1), "file"), evidencetest.Secret(),
		evidence.Genesis{Event: evidencetest.Point(0), Dictionary: storyDictionary()})
	s.Writer = w
	s.Add(t, genesis, err)
	boot, err := w.Boot(s.point(0), evidence.Boot{Clean: true, Software: "tallystick 0.1"})
	s.Add(t, boot, err)
	const perDay = 48
	at := func(day, hour, minute int) int { return day*perDay + hour*2 + minute/30 } // UTC from the start
	var missing, altered []int
	for k := range days * perDay {
		hour := (k/2 + 8) % 24 // in China
		load := [3]int64{300, 120, 80}
		if (hour >= 8 && hour < 20) && (k/perDay)%7 != 6 {
			load = [3]int64{3000 + int64(k*37%400), 1400 + int64(k*53%200), 800}
		}
		for i := range load {
			s.kWh[i] += load[i] * 5 // 0.1 kW for half an hour
		}
		switch k {
		case at(1, 5, 30):
			s.startAgain(t, k, false)
		case at(2, 22, 0):
			d, err := w.Shutdown(s.point(k), "stopped by the service manager")
			s.Add(t, d, err)
		case at(3, 3, 0):
			s.startAgain(t, k, true)
		case at(2, 12, 0):
			s.happen(t, k, "meter_silent", "compressor", "")
		case at(4, 12, 0):
			s.happen(t, k, "meter_answers", "compressor", "")
		case at(4, 10, 0):
			s.happen(t, k, "meter_exchanged", "press-1", "")
			s.kWh[1] = 900_000_00
		case at(6, 0, 0):
			s.offset = 600_000
		case at(6, 6, 0):
			s.offset = 0
		}
		if k >= at(1, 2, 0) && k < at(1, 5, 30) || k >= at(2, 22, 0) && k < at(3, 3, 0) {
			continue
		}
		if k >= at(5, 6, 0) && k < at(5, 7, 0) {
			missing = append(missing, len(s.Deliveries))
		}
		if k == at(5, 9, 0) {
			altered = append(altered, len(s.Deliveries))
		}
		data := map[evidence.Channel][]evidence.Samples{}
		for i := range storyMeters {
			energy := evidence.Samples{Slots: 1, Values: [][]int64{{s.kWh[i]}}}
			power := evidence.Samples{Slots: 1, Values: [][]int64{{load[i]}}}
			if i == 2 && k >= at(2, 12, 0) && k < at(4, 12, 0) {
				energy.Codes = [][]evidence.Code{{evidence.Timeout}}
				power.Codes = energy.Codes
			}
			data[evidence.Energy] = append(data[evidence.Energy], energy)
			data[evidence.Power] = append(data[evidence.Power], power)
		}
		anchor := w.Anchor()
		d, err := w.Window(s.event(k), data, nil)
		if err == nil && k == at(5, 7, 0) { // as a box does after leaves it no longer has
			d, err = evidence.FilterDelivery(nil, d, func(evidence.RawBlock) bool { return true }, &anchor)
		}
		s.Add(t, d, err)
	}
	for _, n := range missing {
		s.Deliveries[n] = nil
	}
	for _, n := range altered {
		s.Deliveries[n] = damaged(s.Deliveries[n])
	}
	return s.Deliveries
}
