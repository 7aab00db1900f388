package api

import (
	"context"
	"errors"
	"reflect"
	"strconv"

	"github.com/go-json-experiment/json"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// operation is one line of the table.
type operation struct {
	Operation
	request, reply reflect.Type // structs; a field without omitzero is required
	// begin reads a request and begins with it; what it returns waits for the reply. Messages stand in the log in the order in which
	// their operations began.
	begin func(ctx context.Context, c Caller, body []byte) (wait func() ([]byte, error))
}

// operations is the table.
func (a *API) operations() []operation {
	return []operation{
		begun("publish", auth.ScopePublish, "Publish one message to a channel.", a.publish),
		begun("broadcast", auth.ScopePublish, "Publish one message to many channels.", a.broadcast),
		begun("send", auth.ScopePublish, "Publish one message to a user's inbox, the channel user.USER.", a.send),
		whole("history", auth.ScopeHistory, "Read a page of a channel's past.", a.history),
		whole("presence", auth.ScopePresence, "Tell who is subscribed to a channel now, over all gateways.", a.presence),
		whole("subscriptions", auth.ScopeSubscriptions, "Tell a user's connections, on all gateways, and what they are subscribed to.", a.subscriptions),
		whole("disconnect", auth.ScopeDisconnect, "End the connections of a user, or one session, on all gateways.", a.disconnect),
		whole("unsubscribe", auth.ScopeUnsubscribe, "End a user's subscriptions of a channel or pattern, on all gateways.", a.unsubscribe),
		whole("token", auth.ScopeToken, "Make a token with which a client connects.", a.token),
		whole("revoke", auth.ScopeRevoke, "Take tokens back, on all gateways; connections that were made with them end.", a.revoke),
		whole("info", auth.ScopeInfo, "Tell which gateways there are, and which streams this one has open.", a.info),
		begun("batch", "", "Do several operations; each has its own result, and needs its own scope.", a.batch),
	}
}

// Operation is what others may know of an operation.
type Operation struct {
	Name, Summary string
	Scope         auth.Scope // empty: that of each part decides
}

// Operations are all there are.
func (a *API) Operations() []Operation {
	list := make([]Operation, len(a.table))
	for i := range a.table {
		list[i] = a.table[i].Operation
	}
	return list
}

// begun makes an operation that begins at once and is waited for later.
func begun[Q, R any](name string, scope auth.Scope, summary string, f func(context.Context, Caller, *Q) (wait func() (R, error))) operation {
	return operation{
		Operation: Operation{Name: name, Summary: summary, Scope: scope}, request: reflect.TypeFor[Q](), reply: reflect.TypeFor[R](),
		begin: func(ctx context.Context, c Caller, body []byte) func() ([]byte, error) {
			q := new(Q)
			if err := read(body, q); err != nil {
				return func() ([]byte, error) { return nil, err }
			}
			wait := f(ctx, c, q)
			return func() ([]byte, error) {
				r, err := wait()
				if err != nil {
					return nil, err
				}
				return encode(r)
			}
		},
	}
}

// whole makes an operation that does everything when it is waited for.
func whole[Q, R any](name string, scope auth.Scope, summary string, f func(context.Context, Caller, *Q) (R, error)) operation {
	return begun(name, scope, summary, func(ctx context.Context, c Caller, q *Q) func() (R, error) {
		return func() (R, error) { return f(ctx, c, q) }
	})
}

// failed is an operation that has ended before it began.
func failed[R any](err error) func() (R, error) {
	return func() (r R, _ error) { return r, err }
}

// find returns the operation of that name; nil: there is none.
func (a *API) find(name string) *operation {
	for i := range a.table {
		if a.table[i].Name == name {
			return &a.table[i]
		}
	}
	return nil
}

func unknown(name string) *wire.Error {
	return wire.UnknownCommand.With("no such operation: " + strconv.Quote(name[:min(len(name), 32)]))
}

// admit refuses a caller without the operation's scope.
func (op *operation) admit(c Caller) *wire.Error {
	if op.Scope == "" || c.May(op.Scope) == nil {
		return nil
	}
	return wire.PermissionDenied.With("this API key is not for " + op.Name + ": that takes the scope " + string(op.Scope) + " (api.keys in the server's configuration)")
}

// appender is a reply that encodes itself: bodies in it are to leave as they were published.
type appender interface {
	appendJSON(dst []byte) ([]byte, error)
}

func encode(reply any) ([]byte, error) {
	if r, ok := reply.(appender); ok {
		return r.appendJSON(nil)
	}
	return json.Marshal(reply)
}

// refusal makes any error one that a caller may see.
func (a *API) refusal(name string, err error) *wire.Error {
	var e *wire.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return wire.Timeout.Err()
	}
	a.opt.Logger.Error("an operation failed", "operation", name, "error", err)
	return wire.Internal.Err()
}
