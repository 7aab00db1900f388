package bench

import (
	"context"
	"errors"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

// guest is a socket that comes and goes.
type guest struct {
	c     *conn
	until int64 // its time is over
}

// mover is a standing socket that subscribes to a second channel, and leaves it again.
type mover struct {
	c    *conn
	then int // of channels that it has been on
}

// comeAndGo has guests come, and go when their time is over.
func (c *churnRun) comeAndGo(ctx context.Context) error {
	clock, o, channels := c.fleet.clock, c.o, c.visit.channels
	start := clock.now()
	err := clock.pace(ctx, schedule{o.Joins, o.Ramp}, start, start+int64(o.Duration), func(i uint64, at int64) error {
		c.sayGoodbye()
		g := &guest{c: &conn{began: at, tracks: []track{{ch: channels[i%uint64(len(channels))], late: true}}}, until: at + int64(o.Stay)}
		c.guests = append(c.guests, g)
		c.fleet.expect(1)
		c.loops[i%uint64(len(c.loops))].add([]*conn{g.c})
		c.r.Churn.Came++
		return c.fleet.err()
	})
	for err == nil && len(c.guests)+len(c.going) > 0 {
		nap(2 * time.Millisecond)
		c.sayGoodbye()
		err = errors.Join(context.Cause(ctx), c.fleet.err())
	}
	return err
}

// sayGoodbye lets those guests go whose time is over and who have what was published before that.
func (c *churnRun) sayGoodbye() {
	now := c.fleet.clock.now()
	for len(c.guests) > 0 && c.guests[0].until <= now {
		g := c.guests[0]
		c.guests = c.guests[1:]
		t := &g.c.tracks[0]
		g.c.loop.mu.Lock()
		t.until = c.sentSoFar(t.ch.index)
		g.c.loop.mu.Unlock()
		c.going = append(c.going, g)
	}
	stay := c.going[:0]
	for _, g := range c.going {
		if !c.gone(g, now) {
			stay = append(stay, g)
		}
	}
	clear(c.going[len(stay):])
	c.going = stay
}

// gone closes a guest's connection, unless it has to wait.
func (c *churnRun) gone(g *guest, now int64) bool {
	l := g.c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	late := now-g.until > int64(c.o.Drain)
	switch {
	case g.c.phase == ended: // by the server, which is counted
		return true
	case g.c.phase < joined:
		if now-g.until > int64(stepTimeout) {
			l.end(g.c, errNoAnswer)
			return true
		}
		return false
	case !late && c.behind(&g.c.tracks[0]):
		return false
	}
	v := l.sink.(*visits)
	v.ended = append(v.ended, g.c.tracks[0])
	g.c.leave()
	l.forget(g.c)
	return true
}

// behind says that a subscription lacks messages that it will be judged by. The loop's mu must be held.
func (c *churnRun) behind(t *track) bool {
	if t.next != 0 {
		return t.next <= t.until
	}
	if c.o.QoS == wire.AtMostOnce {
		return false // its beginning is unknown
	}
	c.live.p.loop.mu.Lock()
	defer c.live.p.loop.mu.Unlock()
	return c.live.p.positions.after(t.ch.index, t.since, t.until) <= t.until
}

// move has movers subscribe to a second channel, and leave it, in turn.
func (c *churnRun) move(ctx context.Context) error {
	clock, o := c.fleet.clock, c.o
	start := clock.now()
	return clock.pace(ctx, schedule{o.Changes, o.Ramp}, start, start+int64(o.Duration), func(i uint64, at int64) error {
		if err := c.change(c.movers[i%uint64(len(c.movers))], at, i); err != nil {
			return err
		}
		return c.fleet.err()
	})
}

// change makes one change, unless the socket still waits for the one before.
func (c *churnRun) change(m *mover, at int64, i uint64) error {
	x, l := c.r.Churn, m.c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.c.phase != joined {
		return nil // the server ended it, which is counted
	}
	if len(m.c.tracks) == 1 {
		m.then++
		channels := c.visit.channels
		// Never the one that it listens to already.
		index := (m.c.tracks[0].ch.index + 1 + m.then%max(1, len(channels)-1)) % len(channels)
		if index == m.c.tracks[0].ch.index {
			return nil
		}
		m.c.tracks = append(m.c.tracks, track{ch: channels[index], late: true, changing: true})
		m.c.began = at
		x.Changed++
		l.text = wire.AppendSubscribe(l.text[:0], maxJoinID+i, &wire.Subscribe{Channel: channels[index].name, QoS: c.o.QoS})
		return m.c.say(l.text)
	}
	t := &m.c.tracks[1]
	if t.until == 0 {
		t.until = c.sentSoFar(t.ch.index)
	}
	if t.changing || c.behind(t) {
		x.Late++ // its turn comes again
		return nil
	}
	x.Changed++
	l.text = wire.AppendUnsubscribe(l.text[:0], maxJoinID+i, &wire.Unsubscribe{Channel: t.ch.name})
	t.changing = true
	return m.c.say(l.text)
}
