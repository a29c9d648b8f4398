package main

import (
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// readable are the channels that hold readings, or what is made of them, by the
// words of the site file.
func readable() ([]configs.Channel, map[configs.Channel]evidence.Channel) {
	return append(configs.AllChannels(), configs.RawFrames), map[configs.Channel]evidence.Channel{
		configs.Energy: evidence.Energy, configs.Power: evidence.Power, configs.VoltageCurrent: evidence.VoltageCurrent,
		configs.Reactive: evidence.Reactive, configs.Frequency: evidence.Frequency, configs.Timing: evidence.Timing,
		configs.Status: evidence.Status, configs.WaterGas: evidence.WaterGas, configs.Aggregates: evidence.Aggregates,
		configs.Daily: evidence.DailyTotals, configs.RawFrames: evidence.RawFrames,
	}
}

// channelOf reads a channel's number, its name in a listing, or its word in the
// site file.
func channelOf(flag, name string) (evidence.Channel, error) {
	if n, err := strconv.ParseUint(name, 10, 16); err == nil {
		return evidence.Channel(n), nil
	}
	words, channels := readable()
	var known []string
	for _, w := range words {
		if name == string(w) || name == channels[w].String() {
			return channels[w], nil
		}
		known = append(known, string(w))
	}
	return 0, cli.UsageError("--%s %s: no such channel; there are %s", flag, name, strings.Join(known, ", "))
}

// channelsOf reads the names given to a flag.
func channelsOf(flag string, names []string) (chs []evidence.Channel, err error) {
	for _, name := range names {
		ch, err := channelOf(flag, name)
		if err != nil {
			return nil, err
		}
		chs = append(chs, ch)
	}
	return chs, nil
}
