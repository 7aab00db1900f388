// Package cluster knows which gateways there are on one NATS account, and asks all of them.
//
// Each gateway says once a second that it lives, on core NATS; who has not been heard for some seconds has left. Nothing is stored: what must
// outlive a gateway is kept elsewhere, by its id. While NATS is away nobody is taken to have left, and a gateway knows itself.
//
// The package must not know what gateways say to each other.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/jetwire/jetwire/streams/link"
)

const (
	// Beat is how often a gateway says that it lives, and Lapse how long it is taken to live after it was heard last.
	Beat  = time.Second
	Lapse = 5 * time.Second

	beatSubject = "jetwire.node.beat" // a Node in JSON; with a reply subject, everybody beats at once
	leftSubject = "jetwire.node.left" // an id
	askPrefix   = "jetwire.node.ask." // and the operation
	nodeHeader  = "Jw-Node"
	errorHeader = "Jw-Error"

	openTimeout = 10 * time.Second

	maxNodes   = 4096 // more are not heard
	maxAnswers = 64   // questions that are answered at a time; more wait
)

// ErrUnavailable is returned while NATS is away, and ErrNoAnswer is wrapped for each gateway that gave none.
var (
	ErrUnavailable = errors.New("cluster: NATS is not available")
	ErrNoAnswer    = errors.New("cluster: no answer")
)

// Info is what a gateway says of itself.
type Info struct {
	Name        string `json:"name"`    // of the machine, or what its operator calls it
	Version     string `json:"version"` // of the program
	Address     string `json:"address"` // HOST:PORT where it listens; empty: not yet
	Connections int    `json:"connections"`
}

// Node is one gateway.
type Node struct {
	ID string `json:"id"` // new for each process
	Info
	Started time.Time `json:"started"`
}

// Answer is what one gateway answered.
type Answer struct {
	Node string // its id
	Body []byte
}

// Options configures a Cluster. Connect is required.
type Options struct {
	Connect link.Connect
	Info    func() Info  // asked at each beat; nil: nothing is said
	Logger  *slog.Logger // default: discard
}

// Cluster is one gateway among the others. Its methods are safe for concurrent use.
type Cluster struct {
	opts    Options
	self    Node
	conn    *link.Conn
	stop    chan struct{}
	back    chan struct{} // one token: NATS can be reached again
	work    sync.WaitGroup
	places  chan struct{} // one for each question that is being answered
	closing sync.Once

	mu       sync.Mutex
	away     bool // nobody can be heard
	others   map[string]*member
	handlers map[string]func([]byte) []byte
	left     []func(Node)
}

type member struct {
	node Node
	seen time.Time
	gone chan struct{} // closed when it has left
}

// Open joins. The gateways that are there are known when it returns, or a moment later; ctx bounds how long that may take.
func Open(ctx context.Context, o Options) (*Cluster, error) {
	if o.Info == nil {
		o.Info = func() Info { return Info{} }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{
		opts: o, self: Node{ID: nuid.Next(), Started: time.Now().UTC()}, stop: make(chan struct{}), back: make(chan struct{}, 1), places: make(chan struct{}, maxAnswers),
		others: map[string]*member{}, handlers: map[string]func([]byte) []byte{},
	}
	conn, err := link.Dial(link.Options{Connect: o.Connect, Name: "cluster", Down: c.onDown, Up: c.onUp, Logger: o.Logger}, nats.NoEcho())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	c.conn = conn
	for subject, cb := range map[string]nats.MsgHandler{beatSubject: c.onBeat, leftSubject: c.onLeft, askPrefix + "*": c.onAsk} {
		if _, err := conn.Subscribe(subject, cb); err != nil {
			conn.Close()
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	c.beat("all")
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := conn.FlushWithContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	c.work.Go(c.run)
	return c, nil
}

// Close leaves, and tells the others.
func (c *Cluster) Close() error {
	c.closing.Do(func() {
		close(c.stop)
		c.work.Wait()
		_ = c.conn.Publish(leftSubject, []byte(c.self.ID))
		if c.conn.Up() {
			_ = c.conn.FlushTimeout(Beat)
		}
		c.conn.Close()
		for range maxAnswers { // until nobody answers any more
			c.places <- struct{}{}
		}
	})
	return nil
}

// ID returns this gateway's id, which is new for each process.
func (c *Cluster) ID() string { return c.self.ID }

// Nodes returns the gateways that live, this one included, by id.
func (c *Cluster) Nodes() []Node {
	nodes := []Node{c.present()}
	c.mu.Lock()
	for _, m := range c.others {
		nodes = append(nodes, m.node)
	}
	c.mu.Unlock()
	slices.SortFunc(nodes, func(a, b Node) int { return strings.Compare(a.ID, b.ID) })
	return nodes
}

// Alive reports whether a gateway of this id is known to live.
func (c *Cluster) Alive(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return id == c.self.ID || c.others[id] != nil
}

// OnLeft has f called, on a goroutine of the Cluster's, for each gateway that leaves or is not heard any more.
func (c *Cluster) OnLeft(f func(Node)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = append(c.left, f)
}

// present is this gateway as it is now.
func (c *Cluster) present() Node {
	n := c.self
	n.Info = c.opts.Info()
	return n
}

// beat says that this gateway lives; with a reply, everybody is asked to say so too.
func (c *Cluster) beat(reply string) {
	body, _ := json.Marshal(c.present()) // texts and numbers
	_ = c.conn.PublishMsg(&nats.Msg{Subject: beatSubject, Reply: reply, Data: body})
}

func (c *Cluster) run() {
	tick := time.NewTicker(Beat)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case now := <-tick.C:
			c.beat("")
			if now.Sub(last) > Lapse/2 { // this process stood still
				c.hearAgain(now)
			}
			c.sweep(now)
			last = now
		case <-c.back:
			c.beat("all")
		case <-c.stop:
			return
		}
	}
}

func (c *Cluster) onDown() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = true
}

func (c *Cluster) onUp() {
	c.hearAgain(time.Now())
	select {
	case c.back <- struct{}{}:
	default:
	}
}

// hearAgain begins to wait for everybody anew, after nobody could be heard.
func (c *Cluster) hearAgain(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = false
	for _, m := range c.others {
		m.seen = now
	}
}

func (c *Cluster) onBeat(m *nats.Msg) {
	var n Node
	if json.Unmarshal(m.Data, &n) != nil || n.ID == "" || n.ID == c.self.ID {
		return
	}
	c.heard(n, time.Now())
	if m.Reply != "" {
		c.beat("")
	}
}

func (c *Cluster) heard(n Node, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.others[n.ID]
	switch {
	case m != nil:
		m.node, m.seen = n, now
	case len(c.others) < maxNodes:
		c.others[n.ID] = &member{node: n, seen: now, gone: make(chan struct{})}
		c.opts.Logger.Info("a gateway has joined", "node", n.ID, "name", n.Name, "address", n.Address)
	}
}

func (c *Cluster) onLeft(m *nats.Msg) { c.remove(string(m.Data), "has left") }

// sweep removes those who were not heard for too long.
func (c *Cluster) sweep(now time.Time) {
	c.mu.Lock()
	var lapsed []string
	for id, m := range c.others {
		if !c.away && now.Sub(m.seen) > Lapse {
			lapsed = append(lapsed, id)
		}
	}
	c.mu.Unlock()
	for _, id := range lapsed {
		c.remove(id, "is not heard any more")
	}
}

func (c *Cluster) remove(id, why string) {
	c.mu.Lock()
	m := c.others[id]
	delete(c.others, id)
	left := slices.Clone(c.left)
	c.mu.Unlock()
	if m == nil {
		return
	}
	close(m.gone)
	c.opts.Logger.Info("a gateway "+why, "node", id, "name", m.node.Name, "address", m.node.Address)
	for _, f := range left {
		f(m.node)
	}
}

// members returns those who are to answer.
func (c *Cluster) members() map[string]*member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.others)
}
