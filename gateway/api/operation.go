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
	name           string
	scope          auth.Scope   // empty: that of each part decides
	request, reply reflect.Type // structs; a field without omitzero is required
	// begin reads a request and begins with it; what it returns waits for the reply. Messages stand in the log in the order in which
	// their operations began.
	begin func(ctx context.Context, c Caller, body []byte) (wait func() ([]byte, error))
}

// operations is the table.
func (a *API) operations() []operation {
	return []operation{
		begun("publish", auth.ScopePublish, a.publish),
		begun("broadcast", auth.ScopePublish, a.broadcast),
		begun("send", auth.ScopePublish, a.send),
		whole("history", auth.ScopeHistory, a.history),
		whole("presence", auth.ScopePresence, a.presence),
		whole("subscriptions", auth.ScopeSubscriptions, a.subscriptions),
		whole("disconnect", auth.ScopeDisconnect, a.disconnect),
		whole("unsubscribe", auth.ScopeUnsubscribe, a.unsubscribe),
		whole("info", auth.ScopeInfo, a.info),
		begun("batch", "", a.batch),
	}
}

// begun makes an operation that begins at once and is waited for later.
func begun[Q, R any](name string, scope auth.Scope, f func(context.Context, Caller, *Q) (wait func() (R, error))) operation {
	return operation{
		name: name, scope: scope, request: reflect.TypeFor[Q](), reply: reflect.TypeFor[R](),
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
func whole[Q, R any](name string, scope auth.Scope, f func(context.Context, Caller, *Q) (R, error)) operation {
	return begun(name, scope, func(ctx context.Context, c Caller, q *Q) func() (R, error) {
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
		if a.table[i].name == name {
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
	if op.scope == "" || c.May(op.scope) == nil {
		return nil
	}
	return wire.PermissionDenied.With("this API key is not for " + op.name + ": that takes the scope " + string(op.scope) + " (api.keys in the server's configuration)")
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
