package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jetwire/jetwire/bench/oracle"
	"github.com/jetwire/jetwire/gateway/wire"
)

const (
	deviceID     = "soak"
	ackStored    = 3 * time.Second  // after which an answered ack at QoS 1 is stored
	takeoverTime = 15 * time.Second // in which the older connection must be closed
	usurpTime    = 30 * time.Second // in which a connect that was given up may still be taken for the newest
)

// gadget is a subscriber that speaks the protocol itself. With a device it remembers nothing: whenever it connects, it relies on what
// the server has restored. Without one it keeps its positions. What is kept here beside is only for judging.
type gadget struct {
	// Fixed after construction.
	r       *run
	name    string
	link    *link
	durable bool
	qos     wire.QoS
	held    gate // its handler waits here
	lapse   gate // its acks wait here

	wg     sync.WaitGroup
	coming sync.Mutex // held while it is started, stopped or taken over
	end    context.CancelFunc

	mu        sync.Mutex // guards what follows, and what the stations say
	subs      []*gadgetSub
	at        *station // the connection that counts: the last that was answered; nil: none yet
	turn      int      // of those who connect: only the newest does again
	rng       *rand.Rand
	abandoned time.Time // when a connect was last given up without its answer: it may still take the session over
}

// gadgetSub is one subscription.
type gadgetSub struct {
	name    string // a channel or a pattern
	inbox   bool   // the server subscribes to it by itself, at QoS 1
	readers map[string]*oracle.Reader
	asked   bool   // the server has answered that it is there
	epoch   string // of run
	base    uint64 // where the present connection began
	run     uint64 // position
	acked   uint64 // the greatest ack sent, over all connections
	floor   uint64 // nothing up to here may come again
	settled []settledAck
}

// settledAck is an ack at QoS 1 that was answered, and may not have been stored.
type settledAck struct {
	seq uint64
	at  time.Time
}

// newGadget makes the i-th device, or the i-th subscriber to patterns that is none.
func newGadget(r *run, k *kind, i int, l *link) *gadget {
	g := &gadget{r: r, name: l.name, link: l, durable: k == durable, qos: wire.QoS(1 + i%2), rng: r.rng(l.name, 0)}
	names := r.channels
	if i%4 >= 2 || k == matching {
		names = [][]string{{r.o.Namespace + ".room.*"}, {r.o.Namespace + ".>"}, {r.o.Namespace + ".*.0", r.channels[len(r.channels)-1]}}[i%3]
	}
	if g.durable {
		g.subs = append(g.subs, &gadgetSub{name: inbox(g.name), inbox: true, readers: make(map[string]*oracle.Reader)})
	}
	for _, name := range names {
		s := &gadgetSub{name: name, readers: make(map[string]*oracle.Reader)}
		for _, channel := range r.channels {
			if !wire.Match(name, channel) {
				continue
			}
			if g.durable {
				s.readers[channel] = r.oracle.Device(g.name+" "+name, channel, 0)
			} else {
				s.readers[channel] = r.oracle.Subscriber(g.name+" "+name, channel, 0)
			}
		}
		g.subs = append(g.subs, s)
	}
	return g
}

// inbox is the channel of a user that devices are subscribed to by themselves.
func inbox(user string) string { return "user." + user }

// qosOf is the QoS of a subscription.
func (g *gadget) qosOf(s *gadgetSub) wire.QoS {
	if s.inbox {
		return wire.AtLeastOnce
	}
	return g.qos
}

func (g *gadget) sub(name string) *gadgetSub {
	for _, s := range g.subs {
		if s.name == name {
			return s
		}
	}
	return nil
}

// start connects, and again whenever the connection is lost, until stop.
func (g *gadget) start(ctx context.Context) {
	g.coming.Lock()
	defer g.coming.Unlock()
	ctx, g.end = context.WithCancel(ctx)
	g.begun(ctx)
}

func (g *gadget) begun(ctx context.Context) {
	g.mu.Lock()
	g.turn++
	turn := g.turn
	g.mu.Unlock()
	g.wg.Go(func() { g.live(ctx, turn) })
}

// stop ends every connection as a device does that dies, and waits.
func (g *gadget) stop() {
	g.coming.Lock()
	defer g.coming.Unlock()
	if g.end == nil {
		return
	}
	g.end()
	g.end = nil
	g.held.open()
	g.lapse.open()
	g.wg.Wait()
}

func (g *gadget) live(ctx context.Context, turn int) {
	for ctx.Err() == nil {
		g.mu.Lock()
		mine := g.turn == turn
		pause := between(g.rng, backoffMin, backoffMax)
		g.mu.Unlock()
		if !mine {
			return // a takeover: the newer one goes on
		}
		if st, err := g.connect(ctx); err == nil {
			err = st.serve(ctx)
			g.lost(ctx, st, turn, err)
			continue
		}
		sleep(ctx, pause)
	}
}

// connect dials, connects, and takes what the server has restored. The connection counts from its reply on.
func (g *gadget) connect(ctx context.Context) (*station, error) {
	token, err := g.r.o.Token(g.name)
	if err != nil {
		return nil, err
	}
	sock, err := dialSocket(ctx, g.link.addr())
	if err != nil {
		return nil, err
	}
	st := &station{
		socket: sock, g: g, life: ctx, quit: make(chan struct{}), nextID: 1,
		replies: make(map[uint64]func(*wire.Incoming)), sent: make(map[string]uint64), answered: make(map[string]uint64), inFlight: make(map[string]bool),
	}
	stop := context.AfterFunc(ctx, sock.close)
	defer stop()
	c := wire.Connect{Token: token, Client: "jetbench soak"}
	if g.durable {
		c.Device = deviceID
	}
	if err := sock.send(wire.AppendConnect(nil, 1, &c)); err != nil {
		sock.close()
		return nil, err
	}
	for connected := false; !connected; {
		err := sock.read(func(in *wire.Incoming) error {
			switch {
			case connected:
				return st.incoming(in)
			case in.Kind == wire.KindError:
				own := in.Error
				return &own
			case in.Kind != wire.KindConnect:
				return st.incoming(in)
			}
			connected = true
			return g.begin(st, &in.Connect)
		})
		if err != nil {
			sock.close()
			g.mu.Lock()
			g.abandoned = time.Now()
			g.mu.Unlock()
			var refused *wire.Error
			if errors.As(err, &refused) && refused.Code.Comeback() != wire.Later {
				g.fail("connect was refused: %v", refused)
			}
			return nil, err
		}
	}
	return st, nil
}

// tell shows what happens to a party that is traced.
func (g *gadget) tell(format string, args ...any) {
	if g.r.o.Trace == g.name {
		g.r.o.Progress(g.name + ": " + fmt.Sprintf(format, args...))
	}
}

func (g *gadget) fail(format string, args ...any) {
	g.tell("failure: "+format, args...)
	g.r.failures.add("%s: %s", g.name, fmt.Sprintf(format, args...))
}

// begin makes st the connection that counts, and begins the runs of what was restored.
func (g *gadget) begin(st *station, r *wire.ConnectReply) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keepStored(time.Now())
	g.at = st
	g.tell("connected as %s", r.Session)
	text := []byte(nil)
	if !g.durable {
		for _, s := range g.subs {
			text = st.subscribeLocked(text, s)
		}
		return st.send(text)
	}
	if r.Durable == nil {
		g.fail("the reply to connect says nothing of a durable session")
		return errors.New("not durable")
	}
	restored := make(map[string]*wire.Restored)
	for i := range r.Durable.Restored {
		x := &r.Durable.Restored[i]
		restored[x.Channel] = x
	}
	for _, s := range g.subs {
		x := restored[s.name]
		if s.inbox && x != nil && len(s.readers) == 0 { // it begins with what comes from now on
			s.acked = x.Since
			s.readers[s.name] = g.r.oracle.Device(g.name, s.name, x.Since)
		}
		switch {
		case s.inbox && x == nil:
			g.fail("the inbox is not there (resumed: %v)", r.Durable.Resumed)
		case x == nil && s.asked:
			g.fail("the subscription to %s was answered once, and is not restored (resumed: %v)", s.name, r.Durable.Resumed)
			s.asked = false
			fallthrough
		case x == nil:
			text = st.subscribeLocked(text, s)
		default:
			if x.Since > s.acked {
				g.fail("%s is restored at %d, and nothing beyond %d was acknowledged", s.name, x.Since, s.acked)
			}
			if x.QoS != g.qosOf(s) {
				g.fail("%s is restored at QoS %d, and was %d", s.name, x.QoS, g.qosOf(s))
			}
			g.tell("%s restored at %d; sent acks up to %d, stored up to %d", s.name, x.Since, s.acked, s.floor)
			s.asked, s.base = true, x.Since
			s.beginRun(x.Epoch, x.Since, s.floor)
		}
	}
	if text == nil {
		return nil
	}
	return st.send(text)
}

// lost says what the end of a connection means.
func (g *gadget) lost(ctx context.Context, st *station, turn int, why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tell("the connection ended: %v (it counts: %v)", why, g.at == st)
	var c closed
	switch {
	case !errors.As(why, &c):
	case c.code == wire.TakenOver && g.turn != turn:
		g.r.count(Counters{Takeovers: 1})
	case ctx.Err() != nil:
	case c.code == wire.TakenOver && time.Since(g.abandoned) < usurpTime:
		g.r.o.Progress(g.name + ": a connect that it had given up took the session over")
	case c.code.Comeback() != wire.Later:
		g.fail("the server closed its only connection: %v", c)
	}
	if g.at == st {
		g.keepStored(time.Now())
		g.r.count(Counters{Reconnects: 1})
	}
}

// serverEnds is told just before: a client that is cut off notices much later.
func (g *gadget) serverEnds() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keepStored(time.Now())
}

// keepStored takes for stored what was acknowledged at QoS 1 long enough before the end of a connection. mu must be held.
func (g *gadget) keepStored(end time.Time) {
	for _, s := range g.subs {
		for _, a := range s.settled {
			if end.Sub(a.at) >= ackStored {
				s.floor = max(s.floor, a.seq)
			}
		}
		s.settled = nil
	}
}

// settle connects once more when everything has been acknowledged: what was, must not come again.
func (g *gadget) settle(ctx context.Context) {
	const patience = 15 * time.Second
	deadline := time.Now().Add(patience)
	for !g.allAcked() {
		if time.Now().After(deadline) {
			g.fail("its acks were not answered within %v", patience)
			break
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return
		}
	}
	sleep(ctx, ackStored)
	g.takeOverInPeace(ctx)
	g.stop()
	g.start(ctx)
	for time.Now().Before(deadline.Add(2*patience)) && !g.backAgain() {
		if !sleep(ctx, 20*time.Millisecond) {
			return
		}
	}
	sleep(ctx, time.Second)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.subs {
		if s.base < s.acked {
			g.fail("%s came back at %d in the end, and the ack of %d had been answered", s.name, s.base, s.acked)
		}
	}
}

func (g *gadget) allAcked() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.subs {
		if g.at == nil || g.at.inFlight[s.name] || s.run > max(g.at.answered[s.name], s.base) {
			return false
		}
	}
	return true
}

// backAgain reports whether the connection that counts lives.
func (g *gadget) backAgain() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.at.quit:
		return false
	default:
		return true
	}
}
