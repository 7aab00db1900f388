package bench

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

var (
	errNotDurable = errors.New("the server's reply to connect says nothing of a durable session: does it know devices?")
	errNotResumed = errors.New("the server has forgotten the device")
	errNotThere   = errors.New("the server has not restored a subscription of the device")
	errNoPosition = errors.New("a subscription at QoS 0 has no position to keep: choose 1 or 2")
	errNoSigner   = errors.New("this scenario has many users: it needs the server's secret to sign their tokens (--data), or a server of its own")
)

// device is whom a durable connection connects as.
type device struct {
	user, id, token string
	known           bool   // the server has a record of it
	last            *track // how far it came, if that is compared when it comes back
}

func newDevice(t *Target, user string) (*device, error) {
	if t.Sign == nil {
		return nil, errNoSigner
	}
	token, err := t.Sign(user, nil)
	return &device{user: user, id: "bench", token: token}, err
}

// inbox is the channel that the device's user is subscribed to without asking.
func (d *device) inbox() string { return "user." + d.user }

// asked is how many subscriptions a connection asks for.
func (c *conn) asked() (n int) {
	for i := range c.tracks {
		if !c.tracks[i].restored {
			n++
		}
	}
	return n
}

// durableSink is a sink of connections that name a device.
type durableSink interface {
	connected(c *conn, r *wire.ConnectReply) error
	acked(c *conn, a *wire.AckReply, now int64)
}

// devices is the sink of devices that acknowledge everything they get, a read's messages together.
type devices struct {
	deliveries
	onAck func(c *conn, t *track, now int64) // told of every answered ack; may be nil

	// Guarded by the loop's mu.
	ackErrors  uint64
	firstError string
	last       int64 // when the last message came
	text       []byte
}

var (
	_ sink        = (*devices)(nil)
	_ durableSink = (*devices)(nil)
)

// connected takes the positions of what was restored.
func (d *devices) connected(c *conn, r *wire.ConnectReply) error {
	switch {
	case r.Durable == nil:
		return errNotDurable
	case c.as.known && !r.Durable.Resumed:
		return fmt.Errorf("%w: user %s", errNotResumed, c.as.user)
	}
	for i := range c.tracks {
		t := &c.tracks[i]
		if !t.restored {
			continue
		}
		found := false
		for j := range r.Durable.Restored {
			if s := &r.Durable.Restored[j]; s.Channel == t.ch.name {
				t.seq, t.acked, found = s.Since, s.Since, true
			}
		}
		if !found {
			return fmt.Errorf("%w: user %s, channel %s", errNotThere, c.as.user, t.ch.name)
		}
	}
	c.as.known = true
	return nil
}

// settled acknowledges what one read has brought.
func (d *devices) settled(c *conn, now int64) error {
	if d.fresh == 0 {
		return nil
	}
	d.last = now
	text := d.text[:0]
	for i := range c.tracks {
		t := &c.tracks[i]
		if t.got > max(t.acked, t.asked) {
			t.asked = t.got
			text = wire.AppendAck(text, maxJoinID+1+uint64(i), &wire.Ack{Channel: t.ch.name, Seq: t.got})
		}
	}
	d.text = text
	if err := d.deliveries.settled(c, now); err != nil || len(text) == 0 {
		return err
	}
	return c.say(text)
}

func (d *devices) acked(c *conn, a *wire.AckReply, now int64) {
	for i := range c.tracks {
		t := &c.tracks[i]
		if t.ch.name != a.Channel {
			continue
		}
		t.acked = max(t.acked, a.Seq)
		if d.onAck != nil {
			d.onAck(c, t, now)
		}
	}
}

func (d *devices) refused(_ *conn, _ uint64, why *wire.Error) {
	d.ackErrors++
	if d.firstError == "" {
		d.firstError = why.Error()
	}
}

// noteAcks says which acks the server refused.
func (f *fleet) noteAcks(r *report.Report) {
	for _, l := range f.loops {
		l.mu.Lock()
		if d := l.sink.(*devices); d.ackErrors > 0 {
			r.Note("%d acks were refused, the first: %s", d.ackErrors, d.firstError)
		}
		l.mu.Unlock()
	}
}

// leave ends a connection as a device does that loses its network: without a goodbye. The loop's mu must be held.
func (c *conn) leave() {
	if c.phase != ended {
		c.finish()
	}
}

// leaveAll ends every connection of some loops, and forgets them.
func leaveAll(loops []*loop) {
	for _, l := range loops {
		l.mu.Lock()
		for c := range l.begun() {
			c.leave()
		}
		l.mu.Unlock()
	}
}

// serverCounters are the counters of a server's metrics that are Jetwire's own.
func serverCounters(m map[string]float64) map[string]float64 {
	own := make(map[string]float64)
	for name, v := range m {
		if strings.HasPrefix(name, "jetwire_") && strings.HasSuffix(name, "_total") {
			own[name] = v
		}
	}
	return own
}

// counted is what a server counted between two looks at its metrics; what did not change is left out.
func counted(before, after map[string]float64) map[string]report.Figure {
	diff := make(map[string]report.Figure)
	for name, v := range serverCounters(after) {
		if d := v - before[name]; d != 0 {
			diff[name] = report.Figure(d)
		}
	}
	return diff
}
