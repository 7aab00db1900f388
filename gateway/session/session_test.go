package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// peer is the connection of a session under test: it keeps what was sent.
type peer struct {
	mu          sync.Mutex
	frames      []string
	code        wire.Code // of the first Close
	reason      string
	established bool
	paused      bool
	pausing     func() // called before reading is paused
}

func (p *peer) Send(payload []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.code == 0 { // as a socket: nothing leaves behind a close frame
		p.frames = append(p.frames, string(payload))
	}
}

func (p *peer) Close(code wire.Code, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.code == 0 {
		p.code, p.reason = code, reason
	}
}

func (p *peer) Serial() uint64 { return 35 }
func (p *peer) Establish()     { p.mu.Lock(); p.established = true; p.mu.Unlock() }
func (p *peer) SetReading(on bool) {
	if p.pausing != nil && !on {
		p.pausing()
	}
	p.mu.Lock()
	p.paused = !on
	p.mu.Unlock()
}

func (p *peer) closed() wire.Code {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.code
}

func (p *peer) isPaused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.paused
}

// take returns what was sent since the last call.
func (p *peer) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	sent := p.frames
	p.frames = nil
	return sent
}

// scripted is a Broker that does what the test says: at once, or, while held, when the test releases it.
type scripted struct {
	mu      sync.Mutex
	rules   map[string]auth.Rules
	fails   error // of every answer
	held    bool
	waiting []func()
	places  []*place
	epoch   string
	head    uint64
	seen    []Publication
	tasks   []Task
	called  []Call
	asked   []wire.History
	record  Record
	device  *device // taken last
}

// place is a subscription of a scripted Broker.
type place struct {
	conn  Conn
	asked Request

	mu       sync.Mutex
	acked    uint64
	epoch    string
	drained  int
	canceled bool
}

func (p *place) Ack(epoch string, seq uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case epoch != "" && epoch != p.epoch:
		return wire.WrongEpoch.Err()
	case seq > 99:
		return wire.AckAhead.Err()
	}
	p.acked = seq
	return nil
}

func (p *place) Acked() (string, uint64) { p.mu.Lock(); defer p.mu.Unlock(); return p.epoch, p.acked }
func (p *place) Cancel()                 { p.mu.Lock(); defer p.mu.Unlock(); p.canceled = true }

func (p *place) Drained() {
	p.mu.Lock()
	p.drained++
	first := p.asked.Held && p.drained == 1 && !p.canceled
	p.mu.Unlock()
	if first {
		p.send()
	}
}

func (p *place) send() {
	p.conn.Send([]byte(`{"message":{"channel":"` + p.asked.Channel + `","seq":8,"prev":7,"data":1}}`))
}

func (b *scripted) Rules(channel string) (auth.Rules, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if strings.HasPrefix(channel, "unruly.") {
		return auth.Rules{}, wire.UnknownNamespace.Err()
	}
	return b.rules[wire.Namespace(channel)], nil
}

func (b *scripted) answer(f func()) {
	b.mu.Lock()
	held := b.held
	if held {
		b.waiting = append(b.waiting, f)
	}
	b.mu.Unlock()
	if !held {
		f()
	}
}

func (b *scripted) release() {
	b.mu.Lock()
	waiting := b.waiting
	b.waiting, b.held = nil, false
	b.mu.Unlock()
	for _, f := range waiting {
		f()
	}
}

func (b *scripted) Subscribe(c Conn, r Request, attached func(wire.SubscribeReply), done func(Subscription, error)) {
	b.answer(func() {
		if b.fails != nil {
			done(nil, b.fails)
			return
		}
		p := &place{conn: c, asked: r, acked: b.head, epoch: b.epoch}
		if r.Resume {
			p.acked = r.Since
		}
		b.mu.Lock()
		b.places = append(b.places, p)
		b.mu.Unlock()
		attached(wire.SubscribeReply{Channel: r.Channel, Epoch: b.epoch, Seq: b.head, QoS: r.QoS})
		if !r.Held {
			p.send()
		}
		done(p, nil)
	})
}

func (b *scripted) Publish(p Publication, done func(wire.PublishReply, error)) {
	p.Body = append([]byte(nil), p.Body...)
	b.mu.Lock()
	b.seen = append(b.seen, p)
	b.mu.Unlock()
	b.answer(func() {
		if b.fails != nil {
			done(wire.PublishReply{}, b.fails)
			return
		}
		done(wire.PublishReply{Channel: p.Channel, Seq: 8, Epoch: b.epoch, Durability: "memory"}, nil)
	})
}

func (b *scripted) History(_ Conn, h wire.History, done func(wire.HistoryReply, error)) {
	b.mu.Lock()
	b.asked = append(b.asked, h)
	b.mu.Unlock()
	b.answer(func() {
		if b.fails != nil {
			done(wire.HistoryReply{}, b.fails)
			return
		}
		done(wire.HistoryReply{Channel: h.Channel, Epoch: b.epoch}, nil)
	})
}

// device is the record of a scripted Broker's device.
type device struct {
	b             *scripted
	user, id      string
	session       string
	holder        Holder
	changed       int
	stored, fails int
	released      bool
	record        []Position // as it was stored last
}

func (d *device) Changed() { d.changed++ }
func (d *device) Release() { d.released = true }
func (d *device) Store(done func(error)) {
	d.b.answer(func() {
		if d.b.fails != nil {
			d.fails++
			done(d.b.fails)
			return
		}
		d.stored++
		d.record = d.holder.Positions()
		done(nil)
	})
}

func (b *scripted) Take(user, id, session string, h Holder, done func(Device, Record, error)) {
	b.answer(func() {
		if b.fails != nil {
			done(nil, Record{}, b.fails)
			return
		}
		b.device = &device{b: b, user: user, id: id, session: session, holder: h}
		done(b.device, b.record, nil)
	})
}

var (
	_ Device       = (*device)(nil)
	_ Holder       = (*Session)(nil)
	_ Conn         = (*peer)(nil)
	_ Broker       = (*scripted)(nil)
	_ Subscription = (*place)(nil)
)

// bench is a session with everything around it.
type bench struct {
	t    testing.TB
	s    *Session
	p    *peer
	b    *scripted
	gate *gate
	now  time.Time
	opts *Options

	mu      sync.Mutex
	refused []wire.Code
	revoked string // a user
}

var began = time.Unix(1_700_000_000, 0)

// newBench makes a session that nobody has connected. Tokens: "alice" never expires, "brief" does in an hour, "old" has, and what
// begins with "later:" takes the broker's time to check.
func newBench(t testing.TB) *bench {
	n := &bench{t: t, p: &peer{}, now: began, b: &scripted{epoch: "e1", head: 7, rules: map[string]auth.Rules{
		"closed": {auth.Subscribe: auth.Server, auth.Publish: auth.Server, auth.History: auth.Server, auth.Presence: auth.Server},
		"user":   auth.UserRules,
	}}}
	n.gate = &gate{b: n.b}
	n.opts = &Options{
		Authorizer: n.gate,
		Verify: func(token string, _ time.Time) (*auth.Grant, error) {
			switch token {
			case "alice":
				return &auth.Grant{User: "alice"}, nil
			case "alice, an hour":
				return &auth.Grant{User: "alice", Expires: began.Add(time.Hour).UnixMilli()}, nil
			case "alice in chat":
				return &auth.Grant{User: "alice", Patterns: &auth.Patterns{auth.Subscribe: []string{"chat.*"}}}, nil
			case "alice in games":
				return &auth.Grant{User: "alice", Patterns: &auth.Patterns{auth.Subscribe: []string{"game.*", "user.alice"}}}, nil
			case "brief":
				return &auth.Grant{User: "brief", Expires: began.Add(time.Hour).UnixMilli()}, nil
			case "narrow":
				return &auth.Grant{User: "narrow", Patterns: &auth.Patterns{auth.Subscribe: []string{"chat.*"}, auth.Publish: []string{}}}, nil
			case "old":
				return nil, fmt.Errorf("verify: %w", auth.ErrExpired)
			}
			if strings.HasPrefix(token, "later:") {
				return nil, auth.ErrLater
			}
			return nil, auth.ErrBadToken
		},
		Redeem: func(token string, done func(*auth.Grant, error)) {
			n.b.answer(func() {
				if n.b.fails != nil {
					done(nil, n.b.fails)
					return
				}
				done(n.opts.Verify(token[len("later:"):], n.now))
			})
		},
		Revoked: func(g *auth.Grant) bool { n.mu.Lock(); defer n.mu.Unlock(); return g.User == n.revoked },
		Presence: func(channel string, done func(wire.PresenceReply, error)) {
			n.b.answer(func() {
				done(wire.PresenceReply{Channel: channel, Connections: 1, Users: []wire.Present{{User: "alice", Connections: 1}}}, n.b.fails)
			})
		},
		Broker: n.b, Backends: n.b, AckWait: 30 * time.Second, MaxUnacked: 256, Ping: 25 * time.Second, RetryWindow: 2 * time.Minute, MaxMessage: 65536, MaxSubscriptions: 3, MaxInFlight: 4,
		Now:     func() time.Time { return n.now },
		Refused: func(c wire.Code) { n.mu.Lock(); n.refused = append(n.refused, c); n.mu.Unlock() },
	}
	s := New(withLogger(n.opts), n.p)
	n.s = &s
	return n
}

func connected(t testing.TB, token string) *bench {
	n := newBench(t)
	n.receive(`{"id":1000,"connect":{"token":"` + token + `"}}`)
	if sent := n.p.take(); len(sent) != 1 || !strings.HasPrefix(sent[0], `{"id":1000,"connect":{`) {
		t.Fatalf("connect was answered with %q", sent)
	}
	return n
}

func (n *bench) receive(frame string) { n.s.Receive(true, []byte(frame)) }

// want checks what was sent since it was last asked. An element that ends in … is a beginning.
func (n *bench) want(frames ...string) {
	n.t.Helper()
	got := n.p.take()
	if len(got) != len(frames) {
		n.t.Fatalf("sent %q, want %q", got, frames)
	}
	for i, f := range frames {
		if start, ok := strings.CutSuffix(f, "…"); got[i] != f && (!ok || !strings.HasPrefix(got[i], start)) {
			n.t.Fatalf("frame %d is %s, want %s", i, got[i], f)
		}
	}
}

func (n *bench) wantClosed(code wire.Code) {
	n.t.Helper()
	if got := n.p.closed(); got != code {
		n.t.Fatalf("closed with %v, want %v", got, code)
	}
}

const message = `{"message":{"channel":"chat.a","seq":8,"prev":7,"data":1}}`

// Each row: a token, the frames that are received, and what is sent for the last of them. Close 0: it stays open.
func TestCommands(t *testing.T) {
	failing := func(err error) func(*bench) { return func(n *bench) { n.b.fails = err } }
	sub := `{"subscribe":{"channel":"chat.a"}}`
	for name, c := range map[string]struct {
		token    string
		with     func(*bench)
		received []string
		sent     []string
		close    wire.Code
	}{
		"ping":            {"alice", nil, []string{`{"id":1,"ping":{}}`}, []string{`{"id":1,"ping":{}}`}, 0},
		"ping without id": {"alice", nil, []string{`{"ping":{}}`}, nil, 0},
		"several in a frame": {"alice", nil, []string{`{"id":1,"ping":{}} {"ping":{}}{"id":2,"ping":{}}`},
			[]string{`{"id":1,"ping":{}}`, `{"id":2,"ping":{}}`}, 0},
		"white space": {"alice", nil, []string{" \n"}, nil, 0},

		"before connect":        {"", nil, []string{`{"id":1,"ping":{}}`}, []string{`{"id":1,"error":{"code":"unauthenticated",…`}, wire.Unauthenticated},
		"malformed for connect": {"", nil, []string{`{"id":1,"connect":{"token":1}}`}, []string{`{"id":1,"error":{"code":"bad_request",…`}, wire.BadRequest},
		"unknown for connect":   {"", nil, []string{`{"id":1,"hello":{}}`}, []string{`{"id":1,"error":{"code":"unknown_command",…`}, wire.UnknownCommand},
		"no token":              {"", nil, []string{`{"id":1,"connect":{}}`}, []string{`{"id":1,"error":{"code":"unauthenticated",…`}, wire.Unauthenticated},
		"bad token":             {"", nil, []string{`{"id":1,"connect":{"token":"forged"}}`}, []string{`{"id":1,"error":{"code":"bad_token",…`}, wire.BadToken},
		"expired token":         {"", nil, []string{`{"id":1,"connect":{"token":"old"}}`}, []string{`{"id":1,"error":{"code":"expired_token",…`}, wire.ExpiredToken},
		"refused without id":    {"", nil, []string{`{"connect":{"token":"old"}}`}, []string{`{"error":{"code":"expired_token",…`}, wire.ExpiredToken},
		"refused, more behind": {"", nil, []string{`{"id":1,"connect":{"token":"old"}}{"id":2,"ping":{}}`},
			[]string{`{"id":1,"error":{"code":"expired_token",…`}, wire.ExpiredToken},
		"connect": {"", nil, []string{`{"id":1,"connect":{"token":"alice","client":"test/1"}}`}, []string{`{"id":1,"connect":{"session":"…`}, 0},
		"connect and more": {"", nil, []string{`{"connect":{"token":"alice"}}{"id":2,"ping":{}}`},
			[]string{`{"id":2,"ping":{}}`}, 0},
		"connect again": {"alice", nil, []string{`{"id":1,"connect":{"token":"alice"}}`}, []string{`{"id":1,"error":{"code":"already_connected",…`}, 0},

		"binary":               {"alice", func(n *bench) { n.s.Receive(false, []byte(`{"id":1,"ping":{}}`)) }, []string{``}, nil, wire.UnsupportedData},
		"not JSON":             {"alice", nil, []string{`hello`}, nil, wire.BadRequest},
		"not JSON behind id":   {"alice", nil, []string{`{"id":1,"ping":{`}, []string{`{"id":1,"error":{"code":"bad_request",…`}, 0},
		"not JSON behind one":  {"alice", nil, []string{`{"id":1,"ping":{}},{"id":2,"ping":{}}`}, []string{`{"id":1,"ping":{}}`}, wire.BadRequest},
		"cut before connected": {"", nil, []string{`{"id":1,"connect":{`}, []string{`{"id":1,"error":{"code":"bad_request",…`}, wire.BadRequest},
		"unknown command":      {"alice", nil, []string{`{"id":1,"fly":{}}{"id":2,"ping":{}}`}, []string{`{"id":1,"error":{"code":"unknown_command",…`, `{"id":2,"ping":{}}`}, 0},
		"unknown field":        {"alice", nil, []string{`{"id":1,"ping":{"x":1}}`}, []string{`{"id":1,"error":{"code":"bad_request",…`}, 0},
		"error without id":     {"alice", nil, []string{`{"ping":{"x":1}}`}, []string{`{"error":{"code":"bad_request",…`}, 0},

		"subscribe": {"alice", nil, []string{`{"id":1,"subscribe":{"channel":"chat.a"}}`},
			[]string{`{"id":1,"subscribe":{"channel":"chat.a","epoch":"e1","seq":7,"qos":1}}`, message}, 0},
		"subscribe without id": {"alice", nil, []string{sub}, []string{message}, 0},
		"subscribe twice":      {"alice", nil, []string{sub, `{"id":1,"subscribe":{"channel":"chat.a","qos":0}}`}, []string{`{"id":1,"error":{"code":"already_subscribed",…`}, 0},
		"bad channel":          {"alice", nil, []string{`{"id":1,"subscribe":{"channel":"chat"}}`}, []string{`{"id":1,"error":{"code":"bad_channel",…`}, 0},
		"pattern": {"alice", nil, []string{`{"id":1,"subscribe":{"channel":"chat.*"}}`}, []string{
			`{"id":1,"subscribe":{"channel":"chat.*","epoch":"e1","seq":7,"qos":1}}`, `{"message":{"channel":"chat.*",…`,
		}, 0},
		"pattern of all namespaces":    {"alice", nil, []string{`{"id":1,"subscribe":{"channel":"*.a"}}`}, []string{`{"id":1,"error":{"code":"bad_channel",…`}, 0},
		"wider than the token":         {"narrow", nil, []string{`{"id":1,"subscribe":{"channel":"chat.>"}}`}, []string{`{"id":1,"error":{"code":"permission_denied",…`}, 0},
		"as wide as the token":         {"narrow", nil, []string{`{"id":1,"subscribe":{"channel":"chat.*"}}`}, []string{`{"id":1,"subscribe":{…`, `{"message":…`}, 0},
		"another's inbox in a pattern": {"alice", nil, []string{`{"id":1,"subscribe":{"channel":"user.*"}}`}, []string{`{"id":1,"error":{"code":"permission_denied",…`}, 0},
		"nobody may":                   {"alice", nil, []string{`{"id":1,"subscribe":{"channel":"closed.a"}}`}, []string{`{"id":1,"error":{"code":"permission_denied",…`}, 0},
		"another's inbox":              {"alice", nil, []string{`{"id":1,"subscribe":{"channel":"user.bob"}}`}, []string{`{"id":1,"error":{"code":"permission_denied",…`}, 0},
		"outside the token":            {"narrow", nil, []string{`{"id":1,"subscribe":{"channel":"game.a"}}`}, []string{`{"id":1,"error":{"code":"permission_denied",…`}, 0},
		"rules fail":                   {"alice", nil, []string{`{"id":1,"subscribe":{"channel":"unruly.a"}}`}, []string{`{"id":1,"error":{"code":"unknown_namespace",…`}, 0},
		"subscribe fails":              {"alice", failing(wire.Unavailable.Err()), []string{`{"id":1,"subscribe":{"channel":"chat.a"}}`}, []string{`{"id":1,"error":{"code":"unavailable",…`}, 0},
		"fails, and once more":         {"alice", failing(wire.Unavailable.Err()), []string{sub, `{"id":1,"subscribe":{"channel":"chat.a"}}`}, []string{`{"id":1,"error":{"code":"unavailable",…`}, 0},
		"too many":                     {"alice", nil, []string{sub, `{"subscribe":{"channel":"chat.b"}}{"subscribe":{"channel":"chat.c"}}`, `{"id":1,"subscribe":{"channel":"chat.d"}}`}, []string{`{"id":1,"error":{"code":"too_many_subscriptions",…`}, 0},
		"unsubscribe":                  {"alice", nil, []string{sub, `{"id":1,"unsubscribe":{"channel":"chat.a"}}`}, []string{`{"id":1,"unsubscribe":{"channel":"chat.a"}}`}, 0},
		"unsubscribe, no id":           {"alice", nil, []string{sub, `{"unsubscribe":{"channel":"chat.a"}}`}, nil, 0},
		"unsubscribe twice":            {"alice", nil, []string{sub, `{"unsubscribe":{"channel":"chat.a"}}`, `{"id":1,"unsubscribe":{"channel":"chat.a"}}`}, []string{`{"id":1,"error":{"code":"not_subscribed",…`}, 0},
		"unsubscribe, push":            {"alice", nil, []string{`{"unsubscribe":{"channel":"chat.a"}}`}, []string{`{"error":{"code":"not_subscribed",…`}, 0},
		"subscribe anew":               {"alice", nil, []string{sub, `{"unsubscribe":{"channel":"chat.a"}}`, sub}, []string{message}, 0},

		"publish": {"alice", nil, []string{`{"id":1,"publish":{"channel":"chat.a","data":{"a":1}}}`},
			[]string{`{"id":1,"publish":{"channel":"chat.a","seq":8,"epoch":"e1","duplicate":false,"durability":"memory"}}`}, 0},
		"publish without id": {"alice", nil, []string{`{"publish":{"channel":"chat.a","data":1}}`}, nil, 0},
		"publish, push":      {"alice", failing(wire.StoreFull.Err()), []string{`{"publish":{"channel":"chat.a","data":1}}`}, []string{`{"error":{"code":"store_full",…`}, 0},
		"publish, bad":       {"alice", nil, []string{`{"id":1,"publish":{"channel":"chat","data":1}}`}, []string{`{"id":1,"error":{"code":"bad_channel",…`}, 0},
		"publish, no grant":  {"narrow", nil, []string{`{"id":1,"publish":{"channel":"chat.a","data":1}}`}, []string{`{"id":1,"error":{"code":"permission_denied",…`}, 0},
		"publish, base64":    {"alice", nil, []string{`{"id":1,"publish":{"channel":"chat.a","data":"??","encoding":"base64"}}`}, []string{`{"id":1,"error":{"code":"bad_request",…`}, 0},
		"publish, unknown error": {"alice", failing(errors.New("secret detail")), []string{`{"id":1,"publish":{"channel":"chat.a","data":1}}`},
			[]string{`{"id":1,"error":{"code":"internal","message":"the server failed; its log says how"}}`}, 0},
		"presence": {"alice", nil, []string{`{"id":1,"presence":{"channel":"chat.a"}}`},
			[]string{`{"id":1,"presence":{"channel":"chat.a","connections":1,"users":[{"user":"alice","connections":1}]}}`}, 0},
		"presence, denied": {"alice", nil, []string{`{"id":1,"presence":{"channel":"closed.a"}}`}, []string{`{"id":1,"error":{"code":"permission_denied",…`}, 0},
		"presence fails":   {"alice", failing(wire.RateLimited.Err()), []string{`{"id":1,"presence":{"channel":"chat.a"}}`}, []string{`{"id":1,"error":{"code":"rate_limited",…`}, 0},
		"history":          {"alice", nil, []string{`{"id":1,"history":{"channel":"chat.a","last":5}}`}, []string{`{"id":1,"history":{"channel":"chat.a","epoch":"e1","messages":[]}}`}, 0},
		"history, denied":  {"alice", nil, []string{`{"id":1,"history":{"channel":"closed.a"}}`}, []string{`{"id":1,"error":{"code":"permission_denied",…`}, 0},
		"history fails":    {"alice", failing(wire.WrongEpoch.Err()), []string{`{"id":1,"history":{"channel":"chat.a"}}`}, []string{`{"id":1,"error":{"code":"wrong_epoch",…`}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			n := newBench(t)
			if c.token != "" {
				n = connected(t, c.token)
			}
			if c.with != nil {
				c.with(n)
			}
			for _, f := range c.received {
				n.p.take()
				n.receive(f)
			}
			n.want(c.sent...)
			n.wantClosed(c.close)
			if n.s.inFlight != 0 {
				t.Errorf("%d in flight", n.s.inFlight)
			}
			n.checkRefusals(c.sent)
		})
	}
}

// checkRefusals checks that the errors that were sent were counted.
func (n *bench) checkRefusals(sent []string) {
	n.t.Helper()
	for _, f := range sent {
		_, rest, ok := strings.Cut(f, `"code":"`)
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(rest, `"`)
		if !slices.ContainsFunc(n.refused, func(c wire.Code) bool { return c.String() == name }) {
			n.t.Errorf("%s was sent and not counted: %v", name, n.refused)
		}
	}
}

func TestConnectReply(t *testing.T) {
	n := newBench(t)
	n.receive(`{"id":1,"connect":{"token":"brief"}}`)
	var got struct {
		Connect wire.ConnectReply `json:"connect"`
	}
	if err := json.Unmarshal([]byte(n.p.take()[0]), &got); err != nil {
		t.Fatal(err)
	}
	want := wire.ConnectReply{Session: got.Connect.Session, User: "brief", Ping: 25, Expires: began.Add(time.Hour).UnixMilli(), RetryWindow: 120, MaxMessage: 65536}
	if got.Connect != want || got.Connect.Session == "" || !n.p.established {
		t.Errorf("%+v, want %+v; established %v", got.Connect, want, n.p.established)
	}
}

func TestPublicationReachesTheBroker(t *testing.T) {
	n := connected(t, "alice")
	n.receive(`{"publish":{"channel":"chat.a","data":{"a": 1},"id":"m1"}}{"publish":{"channel":"chat.a","data":"AP8=","encoding":"base64","qos":0}}`)
	if len(n.b.seen) != 2 {
		t.Fatal(n.b.seen)
	}
	one, two := n.b.seen[0], n.b.seen[1]
	if one.From != "alice" || one.ID != "m1" || one.QoS != wire.ExactlyOnce || string(one.Body) != `{"a": 1}` {
		t.Errorf("%+v %s", one, one.Body)
	}
	if two.QoS != wire.AtMostOnce || string(two.Body) != "\x00\xff" {
		t.Errorf("%+v %q", two, two.Body)
	}
}
