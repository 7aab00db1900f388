// Package service offers the server API to backends that are NATS clients: as the NATS micro service "jetwire", with an endpoint
// jetwire.api.NAME for each operation. The gateways form a queue group, so that one of them answers. Requests and replies are those
// of the HTTP API; an error has its HTTP status in the header Nats-Service-Error-Code, and its body is {code, message, retry_after?}.
//
// There are no keys here: who may publish to jetwire.api.NAME may do it. The permissions of NATS users decide that.
//
// The package knows NATS and operations by their names. It must not know what they do.
package service

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/jetwire/jetwire/gateway/api"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/link"
)

const (
	// Name is the service's name, and Version that of the API.
	Name    = "jetwire"
	Version = "1.0.0"
	// Prefix begins the endpoints' subjects.
	Prefix = "jetwire.api."

	description = "Jetwire's server API: publish, history, presence, connections, tokens. Requests and replies are JSON, as in /v1/openapi.json."
	queue       = "jetwire"
)

// Options configures a Service. All but Release are required.
type Options struct {
	Connect link.Connect
	API     *api.API
	Gateway string // the gateway's id
	Release string // of the program
	Logger  *slog.Logger
}

// Service is one gateway's part of the micro service.
type Service struct {
	opt    Options
	conn   *link.Conn
	micro  micro.Service
	caller api.Caller
	slots  chan struct{} // one for each request under way
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup // requests under way
}

// Start connects and begins to answer. Close must be called.
func Start(o Options) (*Service, error) {
	s := &Service{opt: o, slots: make(chan struct{}, o.API.Concurrent())}
	s.caller = api.Caller{Name: "NATS", May: func(auth.Scope) error { return nil }}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	var err error
	if s.conn, err = link.Dial(link.Options{Connect: o.Connect, Name: "api", Logger: o.Logger}); err != nil {
		s.cancel()
		return nil, fmt.Errorf("server API over NATS: %w", err)
	}
	if err := s.serve(); err != nil {
		s.Close()
		return nil, fmt.Errorf("server API over NATS: %w", err)
	}
	return s, nil
}

func (s *Service) serve() (err error) {
	s.micro, err = micro.AddService(s.conn.Conn, micro.Config{
		Name: Name, Version: Version, Description: description, QueueGroup: queue,
		Metadata: map[string]string{"gateway": s.opt.Gateway, "release": s.opt.Release},
	})
	if err != nil {
		return err
	}
	for _, op := range s.opt.API.Operations() {
		err := s.micro.AddEndpoint(op.Name, micro.HandlerFunc(func(r micro.Request) { s.handle(op.Name, r) }),
			micro.WithEndpointSubject(Prefix+op.Name), micro.WithEndpointMetadata(s.opt.API.Describe(op.Name)))
		if err != nil {
			return err
		}
	}
	return s.conn.Flush()
}

// handle answers one request. It is called on a goroutine of the endpoint's, which it does not keep.
func (s *Service) handle(name string, r micro.Request) {
	select {
	case s.slots <- struct{}{}:
	default:
		s.refuse(r.Reply(), api.Busy())
		return
	}
	subject := r.Reply()
	s.begin(func() {
		defer func() { <-s.slots }()
		reply, e := s.opt.API.Call(s.ctx, s.caller, name, r.Data())
		if e == nil && int64(len(reply)) > s.conn.MaxPayload() {
			e = wire.TooLarge.With(fmt.Sprintf("the answer is larger than a NATS message may be (%d bytes); ask for less", s.conn.MaxPayload()))
		}
		if e != nil {
			s.refuse(subject, e)
			return
		}
		s.answer(&nats.Msg{Subject: subject, Data: reply})
	})
}

// begin calls f on a goroutine that Close waits for.
func (s *Service) begin(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.work.Go(f)
	}
}

// refuse answers with an error, as micro does.
func (s *Service) refuse(subject string, e *wire.Error) {
	body, err := json.Marshal(e)
	if err != nil { // a text that is not UTF-8
		body = nil
	}
	s.answer(&nats.Msg{Subject: subject, Data: body, Header: nats.Header{
		micro.ErrorHeader: {e.Code.String()}, micro.ErrorCodeHeader: {strconv.Itoa(api.Status(e.Code))},
	}})
}

// answer sends an answer. A micro.Request must not be asked to once its handler has returned.
func (s *Service) answer(m *nats.Msg) {
	if err := s.conn.PublishMsg(m); err != nil {
		s.opt.Logger.Debug("an answer over NATS could not be sent", "error", err)
	}
}

// Close stops answering, and waits for what is under way.
func (s *Service) Close() {
	if s.micro != nil {
		_ = s.micro.Stop() // fails only where NATS is away
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.work.Wait()
	s.conn.Close()
}
