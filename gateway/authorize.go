package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/callout"
	"github.com/jetwire/jetwire/gateway/session"
	"github.com/jetwire/jetwire/gateway/unified"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/link"
)

// authorizers are those that namespaces have.
type authorizers struct {
	conn *link.Conn // nil: none is asked over NATS

	byName      map[string]*callout.Authorizer
	byNamespace map[string]*callout.Authorizer // of those that are listed; nil: it has none
	other       *callout.Authorizer            // of those that are not; nil: they have none
}

var _ session.Authorizer = (*authorizers)(nil)

// newAuthorizers makes the authorizers of a gateway, and connects to NATS if one is asked there. After an error nothing is left.
func newAuthorizers(o *Options) (_ *authorizers, err error) {
	a := &authorizers{byName: map[string]*callout.Authorizer{}, byNamespace: map[string]*callout.Authorizer{"user": nil, unified.Namespace: nil}}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	for name, co := range o.Authorizers {
		if co.Subject != "" && a.conn == nil {
			if a.conn, err = link.Dial(link.Options{Connect: o.Streams.Connect, Name: "authorizers", Logger: o.Logger}); err != nil {
				return nil, err
			}
		}
		co.Name, co.Request, co.Logger = name, a.request, o.Logger
		if a.byName[name], err = callout.New(co); err != nil {
			delete(a.byName, name)
			return nil, fmt.Errorf("authorizer %s: %w", name, err)
		}
	}
	named := func(name string) *callout.Authorizer {
		if name != "" && a.byName[name] == nil && err == nil {
			err = fmt.Errorf("gateway: there is no authorizer %q", name)
		}
		return a.byName[name]
	}
	for namespace := range o.Rules {
		if o.asksIn(namespace) && err == nil {
			err = fmt.Errorf("gateway: an authorizer is asked in the namespace %s, where clients would see it: give it another subject", namespace)
		}
		a.byNamespace[namespace] = named(o.Authorizer[namespace])
	}
	a.other = named(o.DefaultAuthorizer)
	return a, err
}

// authorizer is session.Options.Authorizer.
func (a *authorizers) authorizer() session.Authorizer {
	if len(a.byName) == 0 {
		return nil
	}
	return a
}

func (a *authorizers) request(ctx context.Context, subject string, body []byte) ([]byte, error) {
	m, err := a.conn.RequestWithContext(ctx, subject, body)
	if err != nil {
		return nil, err
	}
	return m.Data, nil
}

// of returns who is asked about op on a channel; nil: nobody.
func (a *authorizers) of(op auth.Op, channel string) *callout.Authorizer {
	authorizer, listed := a.byNamespace[wire.Namespace(channel)]
	if !listed {
		authorizer = a.other
	}
	if authorizer == nil || !authorizer.Asks(op) {
		return nil
	}
	return authorizer
}

// Known implements session.Authorizer.
func (a *authorizers) Known(user string, op auth.Op, channel string) (known bool, refusal *wire.Error) {
	authorizer := a.of(op, channel)
	if authorizer == nil {
		return true, nil
	}
	answer, known := authorizer.Known(user, op, channel)
	if known && !answer.Allow {
		return true, denied(op, channel, answer)
	}
	return known, nil
}

// Ask implements session.Authorizer.
func (a *authorizers) Ask(q session.Question, done func(refusal *wire.Error)) {
	authorizer := a.of(q.Op, q.Channel)
	if authorizer == nil {
		done(nil)
		return
	}
	authorizer.Ask(callout.Question(q), func(answer callout.Answer, err error) {
		switch {
		case err != nil:
			done(wire.Unavailable.With("it cannot be asked now whether this is allowed; nothing was done").After(1))
		case !answer.Allow:
			done(denied(q.Op, q.Channel, answer))
		default:
			done(nil)
		}
	})
}

// decide asks, where somebody has to be asked, and waits for the answer; nil allows.
func (a *authorizers) decide(ctx context.Context, q session.Question) (refusal *wire.Error) {
	if known, refusal := a.Known(q.User, q.Op, q.Channel); known {
		return refusal
	}
	answered := make(chan *wire.Error, 1)
	a.Ask(q, func(refusal *wire.Error) { answered <- refusal })
	select {
	case refusal = <-answered:
		return refusal
	case <-ctx.Done():
		return wire.Timeout.Err()
	}
}

func denied(op auth.Op, channel string, answer callout.Answer) *wire.Error {
	text := "the authorizer does not allow to " + op.String() + " " + channel
	if answer.Reason != "" {
		text += ": " + answer.Reason
	}
	return wire.PermissionDenied.With(text)
}

// stats are those of all authorizers together.
func (a *authorizers) stats() (sum callout.Stats) {
	for _, authorizer := range a.byName {
		st := authorizer.Stats()
		sum.Asked += st.Asked
		sum.Known += st.Known
		sum.Denied += st.Denied
		sum.Failed += st.Failed
	}
	return sum
}

func (a *authorizers) close() error {
	var errs []error
	for _, authorizer := range a.byName {
		errs = append(errs, authorizer.Close())
	}
	if a.conn != nil {
		a.conn.Close()
	}
	return errors.Join(errs...)
}
