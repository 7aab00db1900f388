package unified

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/gateway/wsock"
)

// Conn is the connection under a Socket. Its methods do not call the Socket.
type Conn interface {
	// Offer queues a frame unless too much waits already. flush says that the caller has to see that it leaves.
	Offer(frame []byte) (taken, flush bool)
	Send(frame []byte) // queues a frame, and sees that it leaves
	Close(code wire.Code, reason string)
	SetReading(on bool)
}

// Session does what a Socket's commands ask for, and answers to Socket.Send.
type Session interface {
	Admit(id uint64, grant *auth.Grant, client, device string)
	Receive(text bool, payload []byte) // by one goroutine at a time
}

// Options is what all sockets of a gateway share. The zero value works.
type Options struct {
	// ClientToClient is who may send to other clients. Own, the default, means to those of the same unique id, and wherever
	// a token's publish patterns say.
	ClientToClient auth.Rule
	MaxUnacked     int             // how many of a subscription's messages are on their way at most; 0: no limit
	Refused        func(wire.Code) // counts what clients were refused
	// Limit counts a message that becomes no command, since it is refused here. A refusal says that there were too many, over
	// that the connection is to be closed for it. nil: there is no limit.
	Limit  func(c Conn, user string) (refusal *wire.Error, over bool)
	Logger *slog.Logger
	Now    func() time.Time
}

// Service translates for all sockets of one gateway.
type Service struct {
	opt  Options
	last atomic.Pointer[delivery] // a message goes to many sockets, one after the other: it is translated for the first
}

// New makes a Service.
func New(o Options) *Service {
	if o.ClientToClient == "" {
		o.ClientToClient = auth.Own
	}
	if o.MaxUnacked <= 0 || o.MaxUnacked > 2*passedPerPing {
		o.MaxUnacked = 2 * passedPerPing
	}
	if o.Refused == nil {
		o.Refused = func(wire.Code) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Service{opt: o}
}

// Admission is what the token of a socket has said.
type Admission struct {
	Grant  *auth.Grant
	Client Client // its ID is the grant's User
	// Epoch and Since are the end of the log when the token was made: a new client begins there. An empty epoch: at the present end.
	Epoch string
	Since uint64
}

// Socket translates between one client, who speaks unified messages, and its session, which speaks Jetwire's protocol.
//
// Begin is called once, Receive by one goroutine at a time; all methods by any.
type Socket struct {
	service *Service
	conn    Conn
	session Session
	turn    sync.Mutex // held by who gives the session a command

	mu     sync.Mutex
	grant  *auth.Grant // nil before Begin
	client Client
	begun  bool     // what arrives is handled as it comes; until then it is held
	held   [][]byte // bounded by what the connection had read when it was told to read no more
	nextID uint64
	asked  map[uint64]string // the messageIds of what waits for its answer; empty: the client does not want to know. nil: nothing waits
	acks   acks
}

// The ids of a session's first commands. Those of clients' messages follow.
const (
	idAdmit = iota + 1
	idInbox
	idCast
)

// NewSocket makes the Socket of a connection, which reads nothing before Begin. The session answers to its Send.
func (s *Service) NewSocket(c Conn, session Session) *Socket {
	c.SetReading(false)
	return &Socket{service: s, conn: c, session: session, nextID: idCast}
}

// clientName is what the session's log says of who connects.
const clientName = "unified"

// Begin makes the connection the client's: its session is restored, or begins.
func (s *Socket) Begin(a Admission) {
	s.mu.Lock()
	s.grant, s.client = a.Grant, a.Client
	s.mu.Unlock()
	s.session.Admit(idAdmit, a.Grant, clientName, Device(a.Client.Type))
	for i, channel := range []string{Inbox(a.Client.ID), Cast} {
		c := wire.Subscribe{Channel: channel, QoS: wire.AtLeastOnce, Resume: a.Epoch != "", Since: a.Since, Epoch: a.Epoch}
		s.command(wire.AppendSubscribe(nil, idInbox+uint64(i), &c)) // refused if it was restored
	}
	for {
		s.mu.Lock()
		if len(s.held) == 0 {
			s.begun, s.held = true, nil
			s.mu.Unlock()
			return
		}
		next := s.held[0]
		s.held = s.held[1:]
		s.mu.Unlock()
		s.message(next)
	}
}

// command gives the session a command.
func (s *Socket) command(payload []byte) {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.session.Receive(true, payload)
}

// Receive handles one message of the client's.
func (s *Socket) Receive(text bool, payload []byte) {
	if !text {
		s.conn.Close(wire.UnsupportedData, "send text: one JSON object a message")
		return
	}
	s.mu.Lock()
	begun := s.begun
	if !begun {
		s.held = append(s.held, bytes.Clone(payload))
	}
	s.mu.Unlock()
	if begun {
		s.message(payload)
	}
}

func (s *Socket) message(payload []byte) {
	var m Message
	err := m.Decode(payload)
	id := m.ID
	if err == nil {
		err = s.do(&m, id)
	}
	if err == nil {
		return
	}
	e := asWire(err)
	var over bool
	if limit := s.service.opt.Limit; limit != nil {
		var refusal *wire.Error
		if refusal, over = limit(s.conn, s.client.ID); refusal != nil {
			e = refusal
		}
	}
	s.refuse(id, e)
	if over {
		s.conn.Close(e.Code, e.Message)
	}
}

// do sends a message on as a command of the session's; id is what the client gave it.
func (s *Socket) do(m *Message, id string) error {
	now := s.service.opt.Now()
	if err := s.client.stamp(m, now); err != nil {
		return err
	}
	op, to, err := route(m)
	if err != nil {
		return err
	}
	if err := s.client.allow(s.grant, s.service.opt.ClientToClient, op, m, to, now); err != nil {
		return err
	}
	body, err := encode(m)
	if err != nil {
		return err
	}
	n := s.ask(id)
	if op == auth.Command {
		s.command(wire.AppendTask(nil, n, &wire.Task{Destination: to, Data: body, ID: id}))
		return nil
	}
	c := wire.Publish{Channel: to, Data: body, ID: id, QoS: wire.AtLeastOnce}
	if id != "" {
		c.QoS = wire.ExactlyOnce
	}
	s.command(wire.AppendPublish(nil, n, &c))
	return nil
}

// Send implements session.Conn: replies and pushes become messages.
func (s *Socket) Send(payload []byte) {
	if err := wire.DecodeServer(payload, s.told); err != nil {
		s.service.opt.Logger.Error("a session said what cannot be read", "error", err)
	}
}

func (s *Socket) told(in *wire.Incoming) error {
	switch in.Kind {
	case wire.KindConnect:
		if d := in.Connect.Durable; d != nil {
			for _, r := range d.Restored {
				s.begins(r.Channel, r.Epoch)
			}
		}
	case wire.KindSubscribe:
		s.begins(in.Subscribe.Channel, in.Subscribe.Epoch)
	case wire.KindPublish:
		s.confirm(in.ID, Stored{in.Publish.Seq, in.Publish.Duplicate})
	case wire.KindCommand:
		s.confirm(in.ID, Stored{in.Task.Seq, in.Task.Duplicate})
	case wire.KindError:
		s.failed(in.ID, &in.Error)
	case wire.KindUnsubscribed: // nothing would reach the client any more: it has to come back
		s.conn.Close(in.Unsubscribed.Code, in.Unsubscribed.Message)
	case wire.KindExpired:
		s.say(TypeExpired, "", map[string]float64{"grace": in.Expired.Grace})
	case wire.KindReconnect:
		s.say(TypeReconnect, "", map[string]any{"after": in.Reconnect.After, "reason": in.Reconnect.Reason})
	}
	return nil
}

// ask returns the id of a command that stands for one of the client's messages.
func (s *Socket) ask(messageID string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked == nil {
		s.asked = make(map[uint64]string)
	}
	s.nextID++
	s.asked[s.nextID] = messageID
	return s.nextID
}

// answered takes the messageId that an answer is for; wanted is false if it is for none of the client's messages.
func (s *Socket) answered(id uint64) (messageID string, wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	messageID, wanted = s.asked[id]
	delete(s.asked, id)
	if len(s.asked) == 0 {
		s.asked = nil
	}
	return messageID, wanted
}

func (s *Socket) confirm(id uint64, c Stored) {
	if messageID, _ := s.answered(id); messageID != "" {
		s.say(TypeAck, messageID, c)
	}
}

func (s *Socket) failed(id uint64, e *wire.Error) {
	messageID, wanted := s.answered(id)
	switch {
	case wanted:
		s.say(TypeError, messageID, e)
	case (id == idInbox || id == idCast) && e.Code != wire.AlreadySubscribed:
		s.conn.Close(e.Code, e.Message)
	}
}

// refuse answers a message that was not sent on.
func (s *Socket) refuse(messageID string, e *wire.Error) {
	s.service.opt.Refused(e.Code)
	s.say(TypeError, messageID, e)
}

func (s *Socket) say(kind, messageID string, content any) {
	b, err := json.Marshal(content)
	if err != nil {
		s.service.opt.Logger.Error("cannot say", "messageType", kind, "error", err)
		return
	}
	m := Message{
		Class: ServerToClient, Type: kind, ToType: s.client.Type, To: s.client.ID,
		Timestamp: s.service.opt.Now().UnixMilli(), Content: b, ID: messageID,
	}
	s.conn.Send(textFrame(&m))
}

func textFrame(m *Message) []byte { return wsock.AppendFrame(nil, ws.OpText, m.Append(nil)) }

func asWire(err error) *wire.Error {
	var e *wire.Error
	if errors.As(err, &e) {
		return e
	}
	return wire.Internal.Err()
}
