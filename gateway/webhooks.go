package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/gateway/webhook"
	"github.com/jetwire/jetwire/streams"
	"github.com/jetwire/jetwire/streams/commands"
	"github.com/jetwire/jetwire/streams/cursor"
	"github.com/jetwire/jetwire/streams/dead"
	"github.com/jetwire/jetwire/streams/events"
	"github.com/jetwire/jetwire/streams/link"
)

// Webhook is an endpoint, and what it is told.
type Webhook struct {
	webhook.Endpoint
	// Events are some of WebhookEvents.
	Events []string
	// Namespaces are those of which it is told publish, command, subscribe and unsubscribe. publish needs some; the others mean all
	// where none is named.
	Namespaces []string
}

// The events that are no connection's.
const (
	publishEvent = "publish"
	commandEvent = "command"
)

// WebhookEvents are the events that a Webhook may ask for.
var WebhookEvents = []string{string(events.Connect), string(events.Disconnect), string(events.Subscribe), string(events.Unsubscribe), publishEvent, commandEvent}

// Check says what is wrong with a webhook, without showing its URL or secrets.
func (w *Webhook) Check() error {
	errs := []error{w.Endpoint.Check()}
	if strings.ContainsFunc(w.Name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' }) {
		errs = append(errs, fmt.Errorf("%w: %q: a name has small letters, digits, - and _", webhook.ErrInvalid, w.Name))
	}
	if len(w.Events) == 0 {
		errs = append(errs, fmt.Errorf("%w: %s: it asks for no events", webhook.ErrInvalid, w.Name))
	}
	for _, e := range w.Events {
		if !slices.Contains(WebhookEvents, e) {
			errs = append(errs, fmt.Errorf("%w: %s: there is no event %q: want some of %s", webhook.ErrInvalid, w.Name, e, strings.Join(WebhookEvents, ", ")))
		}
	}
	if slices.Contains(w.Events, publishEvent) && len(w.Namespaces) == 0 {
		errs = append(errs, fmt.Errorf("%w: %s: publish needs namespaces", webhook.ErrInvalid, w.Name))
	}
	return errors.Join(errs...)
}

// kinds are the events of connections that are asked for.
func (w *Webhook) kinds() (kinds []events.Kind) {
	for _, e := range w.Events {
		if e != publishEvent && e != commandEvent {
			kinds = append(kinds, events.Kind(e))
		}
	}
	return kinds
}

// sources says which streams hold what the webhook is told.
func (w *Webhook) sources() (list []cursor.Source) {
	if kinds := w.kinds(); len(kinds) > 0 {
		list = append(list, cursor.Source{Stream: events.Stream, Subjects: events.Subjects(kinds, w.Namespaces)})
	}
	if slices.Contains(w.Events, publishEvent) {
		for _, ns := range w.Namespaces {
			list = append(list, cursor.Source{Stream: streams.StreamOf(ns)})
		}
	}
	if slices.Contains(w.Events, commandEvent) {
		src := cursor.Source{Stream: commands.Stream, Queue: true}
		for _, ns := range w.Namespaces {
			src.Subjects = append(src.Subjects, commands.SubjectPrefix+ns+".>")
		}
		list = append(list, src)
	}
	return list
}

// webhooks tells endpoints what happens. Whichever gateway holds an endpoint's lease does it.
type webhooks struct {
	g         *Gateway
	conn      *link.Conn
	js        jetstream.JetStream
	cursors   *cursor.Store
	events    *events.Log // nil: no endpoint is told of connections
	endpoints []*endpoint
	ctx       context.Context
	stop      context.CancelFunc
	work      sync.WaitGroup
}

type endpoint struct {
	Webhook
	sender *webhook.Sender
	reader atomic.Pointer[cursor.Reader] // nil: another gateway holds the lease
}

// newWebhooks returns nil where there are none.
func newWebhooks(ctx context.Context, g *Gateway) (*webhooks, error) {
	if len(g.opt.Webhooks) == 0 {
		return nil, nil
	}
	w := &webhooks{g: g}
	w.ctx, w.stop = context.WithCancel(context.Background())
	if err := w.open(ctx); err != nil {
		w.close()
		return nil, err
	}
	for _, e := range w.endpoints {
		w.work.Go(func() { w.cursors.Hold(w.ctx, e.Name, func(ctx context.Context) { w.serve(ctx, e) }) })
	}
	if w.tells(events.Disconnect) {
		w.work.Go(func() { w.cursors.Hold(w.ctx, "jetwire.connections", w.events.Sweep) })
	}
	return w, nil
}

func (w *webhooks) open(ctx context.Context) error {
	o := &w.g.opt
	var err error
	if w.conn, err = link.Dial(link.Options{Connect: o.Streams.Connect, Name: "webhooks", Logger: o.Logger}); err != nil {
		return err
	}
	if w.js, err = jetstream.New(w.conn.Conn); err != nil {
		return err
	}
	co := o.Cursors
	co.JetStream, co.Owner, co.Logger = w.js, w.g.cluster.ID(), o.Logger
	if w.cursors, err = cursor.Open(ctx, co); err != nil {
		return err
	}
	if err := w.openEvents(ctx); err != nil {
		return err
	}
	for i := range o.Webhooks {
		e := &endpoint{Webhook: o.Webhooks[i]}
		if err := e.Check(); err != nil {
			return err
		}
		if e.sender, err = webhook.New(e.Endpoint, webhook.Options{Dead: w.bury, Logger: o.Logger}); err != nil {
			return err
		}
		w.endpoints = append(w.endpoints, e)
		for _, src := range e.sources() {
			if src.Queue {
				continue
			}
			if err := w.cursors.Begin(ctx, e.Name, src.Stream); err != nil {
				return err
			}
		}
	}
	return nil
}

// openEvents begins to store events of connections, if somebody wants them.
func (w *webhooks) openEvents(ctx context.Context) (err error) {
	o := w.g.opt.Events
	for _, hook := range w.g.opt.Webhooks {
		o.Kinds = append(o.Kinds, hook.kinds()...)
	}
	if len(o.Kinds) == 0 {
		return nil
	}
	o.Connect, o.Gateway, o.Alive, o.Open, o.Logger = w.g.opt.Streams.Connect, w.g.cluster.ID(), w.g.cluster.Alive, w.connections, w.g.opt.Logger
	w.events, err = events.Open(ctx, o)
	return err
}

func (w *webhooks) tells(k events.Kind) bool {
	return slices.ContainsFunc(w.g.opt.Webhooks, func(h Webhook) bool { return slices.Contains(h.kinds(), k) })
}

// close stores what has happened, and ends. The sockets are closed.
func (w *webhooks) close() {
	if w.events != nil {
		w.events.Close()
	}
	w.stop()
	w.work.Wait()
	for _, e := range w.endpoints {
		e.sender.Close()
	}
	if w.conn != nil {
		w.conn.Close()
	}
}

// serve tells an endpoint while its lease is held.
func (w *webhooks) serve(ctx context.Context, e *endpoint) {
	run := e.sender.Start(ctx)
	r := w.cursors.NewReader(e.Name, e.sources(), func(m cursor.Message) {
		if event, ok := eventOf(&m); ok {
			run.Send(event)
			return
		}
		w.g.opt.Logger.Warn("a message is no event", "stream", m.Stream, "seq", m.Seq)
		m.Done()
	})
	e.reader.Store(r)
	defer e.reader.Store(nil)
	r.Run(ctx)
	run.Wait()
	r.Save()
}

// bury stores a dead letter.
func (w *webhooks) bury(ctx context.Context, l webhook.Letter) error {
	from := l.Event.Origin.(*cursor.Message)
	letter := dead.Letter{Reason: l.Reason, Consumer: l.Endpoint, Deliveries: uint64(l.Attempts), Stream: from.Stream, Seq: from.Seq, Time: from.Time}
	_, err := dead.Post(ctx, w.js, letter.Message("webhook."+l.Endpoint, nil, l.Event.Body))
	return err
}
