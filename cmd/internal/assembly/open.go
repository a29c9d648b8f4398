package assembly

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"time"
	_ "time/tzdata" // boxes may come without the rules of time zones

	"github.com/tallystick/tallystick/agent"
	"github.com/tallystick/tallystick/cmd/internal/broker"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// drainTime is how long a stop waits for the lenders' receipts; the unit in
// packaging allows for it.
const drainTime = 10 * time.Second

// Options are what a site file does not say.
type Options struct {
	Software string // name and version, for the boot leaf
	Log      *slog.Logger
	OnPoll   func(agent.Poll)                    // may be nil
	OnEvent  func(lender string, e uplink.Event) // from the lender's goroutine; may be nil

	DeclareLoss bool // begin a new history where the one the key has signed is gone
}

// Open makes the agent a site file describes and takes up its history. The
// key is made where there is neither a key nor a history.
func Open(site *configs.Site, o Options) (*agent.Agent, error) {
	keys, err := OpenKeys(site)
	if err != nil {
		return nil, err
	}
	if keys.Created {
		o.Log.Info("made the key of this box", "file", site.Key, "public", keys.Public())
	}
	s, err := whole(site, keys, o)
	if err != nil {
		return nil, errors.Join(err, keys.Close())
	}
	s.Close = keys.Close
	a, err := agent.Open(s)
	if err != nil {
		return nil, errors.Join(blameKey(site, keys, err), keys.Close())
	}
	return a, nil
}

// whole is all that a site file describes: lines to be polled, lenders to be sent to.
func whole(site *configs.Site, keys *Keys, o Options) (agent.Site, error) {
	lib, err := Library(site.Profiles)
	if err != nil {
		return agent.Site{}, err
	}
	lines, err := Lines(site, lib, nil, func(err error) { o.Log.Warn(err.Error()) })
	if err != nil {
		return agent.Site{}, err
	}
	s, err := newSite(site, keys, o.Software)
	if err != nil {
		return agent.Site{}, err
	}
	s.Lines, s.Log, s.OnPoll, s.DeclareLoss = lines, o.Log, o.OnPoll, o.DeclareLoss
	for i := range site.Lenders {
		l := &site.Lenders[i]
		s.Lenders = append(s.Lenders, agent.Lender{Name: string(l.Name), Ship: func(f agent.Feed) (agent.Shipper, error) {
			return newShipper(l, f, s.Zone, o)
		}})
	}
	return s, nil
}

// newSite is what the history of a site is kept with; nothing is read or sent.
func newSite(site *configs.Site, keys *Keys, software string) (agent.Site, error) {
	signer, err := keys.Signer()
	if err != nil {
		return agent.Site{}, err
	}
	successor, err := keys.Commitment()
	if err != nil {
		return agent.Site{}, err
	}
	zone, err := site.Timezone.Location()
	if err != nil {
		return agent.Site{}, err
	}
	s := agent.Site{
		Channels: Channels(site.Channels),
		Window:   site.Window, Zone: zone, Sync: site.Buffer.SyncInterval,
		Dir: site.Buffer.Directory, Quota: int64(site.Buffer.Quota), Retention: site.Buffer.Retention,
		Signer: signer, Salt: keys.Salt, Successor: &successor, Count: keys.Count, Used: site.Key + ".used",
		ConfigDigest: site.Digest(), Software: software, Drain: drainTime,
	}
	if keys.Checkpoint != nil {
		s.Checkpoint = keys.Checkpoint.Public().(ed25519.PublicKey)
		s.Notary = func(log evidence.LogID, suite evidence.Suite) (agent.Notary, error) {
			return newNotary(log, suite, keys.Checkpoint, site.Witnesses)
		}
	}
	return s, nil
}

// Rotate puts the successor of the box's key in force and erases the key; it
// returns the key now in force. No agent may be running on the site.
func Rotate(site *configs.Site, software string, log *slog.Logger) (now evidence.PublicKey, err error) {
	keys, err := OpenKeys(site)
	if err != nil {
		return now, err
	}
	defer func() { err = errors.Join(err, keys.Close()) }()
	lib, err := Library(site.Profiles)
	if err != nil {
		return now, err
	}
	s, err := newSite(site, keys, software)
	if err != nil {
		return now, err
	}
	if s.Lines, err = Lines(site, lib, nil, func(error) {}); err != nil {
		return now, err
	}
	s.Log = log
	after, err := keys.After()
	if err != nil {
		return now, err
	}
	next, err := keys.Next()
	if err != nil {
		return now, err
	}
	if err := agent.Rotate(s, next, after); err != nil {
		return now, blameKey(site, keys, err)
	}
	err = keys.Promote()
	return keys.Public(), err
}

// Channels translates the site file's words.
func Channels(names []configs.Channel) (cs []evidence.Channel) {
	for _, n := range names {
		cs = append(cs, map[configs.Channel]evidence.Channel{
			configs.Energy:         evidence.Energy,
			configs.Power:          evidence.Power,
			configs.VoltageCurrent: evidence.VoltageCurrent,
			configs.Reactive:       evidence.Reactive,
			configs.Frequency:      evidence.Frequency,
			configs.Timing:         evidence.Timing,
			configs.Status:         evidence.Status,
			configs.WaterGas:       evidence.WaterGas,
			configs.Aggregates:     evidence.Aggregates,
			configs.Daily:          evidence.DailyTotals,
			configs.RawFrames:      evidence.RawFrames,
		}[n])
	}
	return cs
}

func newShipper(l *configs.Lender, f agent.Feed, zone *time.Location, o Options) (*uplink.Shipper, error) {
	log := o.Log.With("lender", string(l.Name))
	may := newAllowance(l, zone, f.Standing)
	var key evidence.PublicKey
	if l.PublicKey != (configs.PublicKey{}) {
		var err error
		if key, err = evidence.ParsePublicKey(l.PublicKey.String()); err != nil {
			return nil, fmt.Errorf("lender %s: %w", l.Name, err)
		}
	}
	return uplink.New(uplink.Config{
		Lender: string(l.Name), Log: f.Log, Suite: f.Suite, Grants: may.grants, Stretch: may.stretch,
		Key: key, Ack: uplink.AckPolicy(l.Ack),
		Source: f.Source, Cursor: f.Cursor,
		Logger: log,
		Dial: func(ctx context.Context, will uplink.Will) (uplink.Session, error) {
			return broker.Dial(ctx, &l.Connection, clientID(f.Log, l), &will, log)
		},
		Heard: f.Heard,
		OnEvent: func(e uplink.Event) {
			if o.OnEvent != nil {
				o.OnEvent(e.Lender, e)
			}
		},
	})
}

// clientID is unique for the pair of log and lender, because one box may send
// to several lenders on one broker.
func clientID(log evidence.LogID, l *configs.Lender) string {
	return fmt.Sprintf("tally-%s-%s", log.String()[:12], l.Name)
}

// CheckLenders reads the files each lender's connection names and, online,
// calls its broker. It returns every error found.
func CheckLenders(ctx context.Context, site *configs.Site, online bool) (errs []error) {
	for i := range site.Lenders {
		l := &site.Lenders[i]
		log := slog.New(slog.DiscardHandler)
		_, err := broker.Options(&l.Connection, "", log)
		if err == nil && online {
			err = call(ctx, l, log)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("lender %s: %w", l.Name, err))
		}
	}
	return errs
}

// call logs in at a lender's broker and out again, under a client id that does
// not disturb a running agent.
func call(ctx context.Context, l *configs.Lender, log *slog.Logger) error {
	c := l.Connection
	if c.ClientID != "" {
		c.ClientID += "-check"
	}
	s, err := broker.Dial(ctx, &c, fmt.Sprintf("tally-check-%s", l.Name), nil, log)
	if err != nil {
		return err
	}
	return s.Close(ctx)
}
