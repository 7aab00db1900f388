package session

import (
	"testing"
	"time"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// still is a connection and a broker that keep nothing and allocate nothing.
type still struct{ Broker }

func (still) Send([]byte)             {}
func (still) Close(wire.Code, string) {}
func (still) Serial() uint64          { return 0 }
func (still) Establish()              {}
func (still) SetReading(bool)         {}

func (still) Rules(string) (auth.Rules, error) { return auth.Rules{}, nil }

func (still) Subscribe(_ Conn, r Request, attached func(wire.SubscribeReply), done func(Subscription, error)) {
	attached(wire.SubscribeReply{Channel: r.Channel, Epoch: "e", QoS: r.QoS})
	done(still{}, nil)
}

func (still) Ack(string, uint64) error { return nil }
func (still) Acked() (string, uint64)  { return "e", 0 }
func (still) Drained()                 {}
func (still) Cancel()                  {}

// TestConnectAllocations: what a session allocates to connect, sign in and subscribe, the grant and the token's text included. A
// change that needs more has to say why.
func TestConnectAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool forgets on purpose under the race detector")
	}
	frame := []byte(`{"id":1,"connect":{"token":"alice"}}{"id":2,"subscribe":{"channel":"chat.lobby"}}`)
	o := Options{
		Verify:  func(string, time.Time) (*auth.Grant, error) { return &auth.Grant{User: "alice"}, nil },
		Revoked: func(*auth.Grant) bool { return false },
		Broker:  still{}, MaxSubscriptions: 3, MaxInFlight: 4,
		Now: time.Now, Refused: func(wire.Code) {},
	}
	withLogger(&o)
	if n := testing.AllocsPerRun(100, func() {
		s := New(&o, still{})
		s.Receive(true, frame)
		if s.grant == nil || s.subs == nil || s.subs.place == nil {
			t.Fatal("not subscribed")
		}
		s.Closed()
	}); n > 12 {
		t.Errorf("%v allocations", n)
	}
}

func (still) Publish(_ Publication, done func(wire.PublishReply, error)) {
	done(wire.PublishReply{Channel: "chat.lobby", Seq: 1, Epoch: "e"}, nil)
}

// free is a Limiter and an Authorizer that let everything pass.
type free struct{}

func (free) Command(Conn, string, wire.Op) (*wire.Error, bool)         { return nil, false }
func (free) Distrust(Conn)                                             {}
func (free) Known(string, auth.Op, string) (known bool, r *wire.Error) { return true, nil }
func (free) Ask(Question, func(*wire.Error))                           {}

// publishing is a session that publishes, and the frame.
func publishing(change func(*Options)) (*Session, []byte) {
	o := Options{
		Verify:  func(string, time.Time) (*auth.Grant, error) { return &auth.Grant{User: "alice"}, nil },
		Revoked: func(*auth.Grant) bool { return false },
		Broker:  still{}, MaxSubscriptions: 3, MaxInFlight: 4,
		Now: time.Now, Refused: func(wire.Code) {},
	}
	withLogger(&o)
	change(&o)
	s := New(&o, still{})
	s.Receive(true, []byte(`{"id":1,"connect":{"token":"alice"}}`))
	return &s, []byte(`{"id":2,"publish":{"channel":"chat.lobby","data":{"hi":1}}}`)
}

var publishers = map[string]func(*Options){
	"free":    func(*Options) {},
	"limited": func(o *Options) { o.Limiter = free{} },
	"asked":   func(o *Options) { o.Limiter, o.Authorizer = free{}, free{} },
}

// TestPublishAllocations: what a publish allocates, here; to be limited, or asked about where the answer is known, adds nothing.
func TestPublishAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool forgets on purpose under the race detector")
	}
	for name, change := range publishers {
		s, frame := publishing(change)
		if n := testing.AllocsPerRun(100, func() { s.Receive(true, frame) }); n > 3 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	for name, change := range publishers {
		b.Run(name, func(b *testing.B) {
			s, frame := publishing(change)
			b.ReportAllocs()
			for b.Loop() {
				s.Receive(true, frame)
			}
		})
	}
}
