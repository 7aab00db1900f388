package api

import (
	"context"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// BatchRequest does several operations. They begin in order, so what they publish to one channel stands in it in order, and none waits for
// the one before it to end.
type BatchRequest struct {
	Operations []map[string]jsontext.Value `json:"operations"` // 1 to MaxOperations, each {"NAME": REQUEST}; a batch holds no batch
}

// BatchReply has one result for each operation, in the order of the request: {"NAME": REPLY} or {"error": ERROR}.
type BatchReply struct {
	Results []map[string]jsontext.Value `json:"results"`
}

// batchBytes is what a batch's results may hold together before operations other than publishing are refused.
const batchBytes = 8 << 20

func (q *BatchRequest) check() error {
	if len(q.Operations) == 0 || len(q.Operations) > MaxOperations {
		return wire.BadRequest.With("operations: 1 to " + strconv.Itoa(MaxOperations) + " are needed")
	}
	for i, one := range q.Operations {
		if len(one) != 1 {
			return wire.BadRequest.With("operations." + strconv.Itoa(i) + ` must be an object with one operation: {"NAME": REQUEST}`)
		}
	}
	return nil
}

func (a *API) batch(ctx context.Context, c Caller, q *BatchRequest) func() (BatchReply, error) {
	type part struct {
		name  string
		begun bool // it does something whether it is waited for or not
		wait  func() ([]byte, error)
	}
	var parts []part
	for _, one := range q.Operations {
		for name, request := range one {
			op, e := a.partOf(c, name)
			if e != nil {
				parts = append(parts, part{wait: func() ([]byte, error) { return nil, e }})
				continue
			}
			parts = append(parts, part{name, op.Scope == auth.ScopePublish, op.begin(ctx, c, request)})
		}
	}
	return func() (r BatchReply, err error) {
		size := 0
		for _, p := range parts {
			if size > batchBytes && !p.begun {
				p.wait = func() ([]byte, error) {
					return nil, wire.TooLarge.With("the answers before it fill the batch; ask for this one by itself")
				}
			}
			name := p.name
			reply, err := p.wait()
			if err != nil {
				name = "error"
				if reply, err = json.Marshal(a.refusal(p.name, err)); err != nil {
					return r, err
				}
			}
			size += len(reply)
			r.Results = append(r.Results, map[string]jsontext.Value{name: reply})
		}
		return r, nil
	}
}

// partOf finds an operation of a batch, which the caller must be admitted to.
func (a *API) partOf(c Caller, name string) (*operation, *wire.Error) {
	op := a.find(name)
	switch {
	case op == nil:
		return nil, unknown(name)
	case name == "batch":
		return nil, wire.BadRequest.With("a batch holds no batch")
	}
	return op, op.admit(c)
}

// appendJSON implements appender.
func (r BatchReply) appendJSON(dst []byte) ([]byte, error) {
	dst = append(dst, `{"results":[`...)
	for i, one := range r.Results {
		if i > 0 {
			dst = append(dst, ',')
		}
		for name, reply := range one {
			dst = append(append(append(append(dst, `{"`...), name...), `":`...), reply...)
			dst = append(dst, '}')
		}
	}
	return append(dst, "]}"...), nil
}
