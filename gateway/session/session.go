// Package session is one connection's state machine: it reads commands, checks state and permission, calls the Broker,
// and answers. One file per command.
//
// What holds: connect comes first; every command with an id is answered once; a reply to subscribe comes before the
// subscription's first message; permission is checked each time it is used.
// What a client can make a session hold is bounded: subscriptions by MaxSubscriptions, work under way by MaxInFlight,
// past which nothing is read from the connection until answers have come.
//
// A session with a device is durable: what it is subscribed to, and has acknowledged, is kept by the Broker under
// (user, device), and the next session of the same device goes on there.
//
// The package sees no socket, no hub and no NATS.
package session

import (
	"errors"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Conn is the session's connection. Its methods do not call the session.
type Conn interface {
	Send(payload []byte)                 // one text message; copied
	Close(code wire.Code, reason string) // the first call counts
	Establish()                          // the peer is who it says: heartbeats begin
	SetReading(on bool)                  // whether commands are wanted
	Serial() uint64                      // no other connection of this gateway has or had it
}

// Broker does what commands ask for. Its callbacks are called once, from any goroutine, perhaps before the method
// returns; they do not block.
type Broker interface {
	// Rules returns the rules of a channel's namespace.
	Rules(channel string) (auth.Rules, error)
	// Subscribe puts a subscription of c's in place. attached is called before its first message may arrive.
	Subscribe(c Conn, r Request, attached func(wire.SubscribeReply), done func(Subscription, error))
	// Take makes h the holder of (user, device) under the name of its session, and tells what is known of the device.
	Take(user, device, session string, h Holder, done func(Device, Record, error))
	Publish(p Publication, done func(wire.PublishReply, error))
	// History reads a page for c. What c has asked for when its connection ends need not be answered.
	History(c Conn, h wire.History, done func(wire.HistoryReply, error))
}

// Backends brings what clients send to backends there. Its callbacks are as Broker's.
type Backends interface {
	Command(t Task, done func(wire.TaskReply, error))
	Call(c Call, done func(wire.CallReply, error)) // the reply is valid until done returns
}

// Request says what to subscribe to.
type Request struct {
	wire.Subscribe
	Acked bool // what is not acknowledged is sent again
	Held  bool // nothing is sent before the first Drained
}

// Subscription is a place at a channel's log.
type Subscription interface {
	Ack(epoch string, seq uint64) error // an *wire.Error if it is refused; an empty epoch is the present one
	Acked() (epoch string, seq uint64)  // also when it was cancelled
	Drained()                           // the connection has room again
	Cancel()
}

// Publication is a message on its way in. The body is valid until Broker.Publish returns.
type Publication struct {
	Channel, ID, From string
	QoS               wire.QoS
	Body              []byte
}

// Options is what all sessions of a gateway share. Verify, Redeem, Revoked, Broker, Backends and the numbers are required.
type Options struct {
	Gateway string // its id, with which those of its sessions begin
	// Verify checks a token at once. With auth.ErrLater it says that this takes longer: then Redeem does it, and calls done once,
	// from any goroutine.
	Verify           func(token string, now time.Time) (*auth.Grant, error)
	Redeem           func(token string, done func(*auth.Grant, error))
	Revoked          func(*auth.Grant) bool // the token holds no longer
	Anonymous        bool                   // connections without a token are accepted
	Broker           Broker
	Presence         func(channel string, done func(wire.PresenceReply, error)) // done is called as Broker's
	Backends         Backends
	Ping             time.Duration // told to clients: how often a silent connection is pinged
	RetryWindow      time.Duration // told to clients: for how long a publish with an id may be retried
	MaxMessage       int           // told to clients: bytes of a frame
	AckWait          time.Duration // told to durable sessions
	MaxUnacked       int           // told to durable sessions
	MaxSubscriptions int
	MaxInFlight      int        // commands that wait for their answers
	Limiter          Limiter    // nil: nothing is counted
	Authorizer       Authorizer // nil: token and rules alone decide
	Observer         Observer   // nil: nobody observes
	Logger           *slog.Logger
	Refusals         *rate.Sometimes  // which of the tokens that are refused are logged, since clients can show many; nil: all
	Refused          func(wire.Code)  // counts an error that a client was answered with
	Now              func() time.Time // time.Now
}

// Session is one connection's. Receive and Closed are called by one goroutine at a time, Beat and Drained by any.
type Session struct {
	opt  *Options
	conn Conn

	mu       sync.Mutex
	grant    *auth.Grant   // nil before connect
	aside    *aside        // nil: there is no device, and nothing that it waits for
	subs     *subscription // the first; they are few, and a list costs nothing where there is none
	inFlight int32
	warned   bool // that the token has expired
	ending   bool // the connection is being closed
	closed   bool // the connection has ended
}

type subscription struct {
	channel string
	place   Subscription  // nil while it is being put in place
	next    *subscription // of the session's
	from    *Position     // of the device's record; nil: it has none
	leaving func()        // answers the unsubscribe that waits for it to be in place; nil: none does
	qos     wire.QoS
	held    bool // it is in place, and waits for the device's record to say so
	ended   bool // unsubscribed, or the session closed, while it was being put in place
}

// New makes the session of a connection that has just been opened. It stays where the caller puts it.
func New(o *Options, c Conn) Session { return Session{opt: o, conn: c} }

// ID is the session's id, which no other session of any gateway has or had. It is made when it is asked for: nothing is kept for it.
func (s *Session) ID() string { return s.opt.Gateway + "-" + strconv.FormatUint(s.conn.Serial(), 36) }

// Serial returns the number of the connection whose session has that id; false: it is none of this gateway's.
func (o *Options) Serial(id string) (uint64, bool) {
	text, ours := strings.CutPrefix(id, o.Gateway+"-")
	n, err := strconv.ParseUint(text, 36, 64)
	return n, ours && err == nil
}

// reader is what reading a message takes. It is used for one message at a time and shared by all sessions.
type reader struct {
	decoder wire.Decoder
	command wire.Command
}

var readers = sync.Pool{New: func() any { return &reader{decoder: wire.Decoder{Names: new(wire.Names)}} }}

// Receive handles one message: one or more commands.
func (s *Session) Receive(text bool, payload []byte) {
	if !text {
		s.conn.Close(wire.UnsupportedData, wire.UnsupportedData.String())
		return
	}
	s.commands(payload, false)
}

// commands does what a message asks for; held says that it had to wait.
func (s *Session) commands(payload []byte, held bool) {
	r := readers.Get().(*reader)
	defer readers.Put(r)
	r.decoder.Reset(payload)
	for !s.over(r.decoder.Rest(), held) {
		err := r.decoder.Next(&r.command)
		var refused *wire.Error
		switch {
		case err == nil:
			s.handle(&r.command)
		case errors.Is(err, io.EOF):
			return
		case errors.As(err, &refused):
			s.unreadable(r.command.ID, refused)
		case r.command.ID != 0: // what follows cannot be read, but it is known who asked
			s.unreadable(r.command.ID, wire.BadRequest.With(err.Error()))
			return
		default:
			s.conn.Close(wire.BadRequest, clip(err.Error()))
			return
		}
	}
}

// unreadable answers a command that could not be read. In the place of connect it ends the connection.
func (s *Session) unreadable(id uint64, e *wire.Error) {
	s.mu.Lock()
	grant := s.grant
	s.mu.Unlock()
	if grant != nil && s.limited(id, grant.User, 0) {
		return
	}
	s.fail(id, e)
	if grant == nil {
		s.conn.Close(e.Code, clip(e.Message))
	}
}

// clip cuts a text to what a close frame carries (RFC 6455, 5.5: 125 bytes with the code; 5.5.1: UTF-8).
func clip(reason string) string {
	return strings.ToValidUTF8(reason[:min(len(reason), 123)], "")
}

func (s *Session) handle(c *wire.Command) {
	s.mu.Lock()
	grant := s.grant
	s.mu.Unlock()
	switch {
	case grant != nil && s.limited(c.ID, grant.User, c.Op):
		return
	case c.Op == wire.OpConnect:
		s.connect(c.ID, &c.Connect)
		return
	case grant == nil:
		s.fail(c.ID, wire.Unauthenticated.Err())
		s.close(wire.Unauthenticated)
		return
	}
	if s.authorized(c, grant) {
		s.do(c, grant)
	}
}

// do does a command of one who has connected.
func (s *Session) do(c *wire.Command, grant *auth.Grant) {
	switch c.Op {
	case wire.OpSubscribe:
		s.subscribe(c.ID, grant, c.Subscribe)
	case wire.OpUnsubscribe:
		s.unsubscribe(c.ID, &c.Unsubscribe)
	case wire.OpPublish:
		s.publish(c.ID, grant, &c.Publish)
	case wire.OpAck:
		s.ack(c.ID, &c.Ack)
	case wire.OpHistory:
		s.history(c.ID, grant, c.History)
	case wire.OpCommand:
		s.command(c.ID, grant, &c.Task)
	case wire.OpCall:
		s.call(c.ID, grant, &c.Call)
	case wire.OpPresence:
		s.presence(c.ID, grant, &c.Presence)
	case wire.OpRenew:
		s.renew(c.ID, &c.Renew)
	case wire.OpPing:
		s.reply(c.ID, func(dst []byte) []byte { return wire.AppendPong(dst, c.ID) })
	}
}

// allow checks an operation on a channel, at the moment it is asked for.
func (s *Session) allow(grant *auth.Grant, op auth.Op, channel string) *wire.Error {
	valid := wire.ValidChannel
	if op == auth.Subscribe {
		valid = wire.ValidSubscription
	}
	if err := valid(channel); err != nil {
		return wireError(err)
	}
	rules, err := s.opt.Broker.Rules(channel)
	if err != nil {
		return wireError(err)
	}
	switch err := grant.Allows(op, channel, rules, s.opt.Now()); {
	case err == nil:
		return nil
	case errors.Is(err, auth.ErrExpired):
		return wire.ExpiredToken.Err()
	default:
		return wire.PermissionDenied.With("the token or the namespace's rules do not allow this: " + op.String() + " " + channel)
	}
}

// begin counts a command that will be answered later. end must be called once.
func (s *Session) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beginLocked()
}

func (s *Session) beginLocked() {
	if s.inFlight++; int(s.inFlight) == s.opt.MaxInFlight {
		s.conn.SetReading(false) // with the lock held, so that it cannot come behind the end of the last
	}
}

func (s *Session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inFlight--; int(s.inFlight) == s.opt.MaxInFlight-1 && !s.holdsLocked() { // else goOn lets more come
		s.conn.SetReading(true)
	}
}

// answering is begin, and returns what answers the command and calls end.
func answering[R any](s *Session, id uint64, encode func(dst []byte, id uint64, r *R) []byte) func(R, error) {
	s.begin()
	return func(r R, err error) {
		s.end()
		if err != nil {
			s.fail(id, wireError(err))
			return
		}
		s.reply(id, func(dst []byte) []byte { return encode(dst, id, &r) })
	}
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// keepBuffer bounds what a buffer in the pool holds on to.
const keepBuffer = 64 << 10

func (s *Session) send(encode func(dst []byte) []byte) {
	b := buffers.Get().(*[]byte)
	*b = encode((*b)[:0])
	s.conn.Send(*b)
	if cap(*b) <= keepBuffer {
		buffers.Put(b)
	}
}

// reply sends what encode appends, if the client wants a reply.
func (s *Session) reply(id uint64, encode func(dst []byte) []byte) {
	if id != 0 {
		s.send(encode)
	}
}

// fail answers a command with an error; without an id the error is pushed.
func (s *Session) fail(id uint64, e *wire.Error) {
	s.opt.Refused(e.Code)
	s.send(func(dst []byte) []byte { return wire.AppendErrorReply(dst, id, e) })
}

// wireError makes any error one that a client may see: what is not meant for it becomes a fixed text.
func wireError(err error) *wire.Error {
	var e *wire.Error
	if errors.As(err, &e) {
		return e
	}
	return wire.Internal.Err()
}

// close ends the connection, and with it what it has sent behind the command in hand.
func (s *Session) close(code wire.Code) {
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	s.conn.Close(code, clip(code.Err().Message))
}
