package callout

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jetwire/jetwire/gateway/auth"
)

// Asks reports whether op is one of those that are asked about.
func (a *Authorizer) Asks(op auth.Op) bool { return slices.Contains(a.opt.Operations, op) }

// Known returns an answer that is remembered. It does not allocate.
func (a *Authorizer) Known(user string, op auth.Op, channel string) (Answer, bool) {
	if !a.remembers(op) {
		return Answer{}, false
	}
	a.mu.Lock()
	answer, ok := a.knownLocked(key{user, channel, op})
	a.mu.Unlock()
	if ok {
		a.known.Add(1)
		a.count(answer)
	}
	return answer, ok
}

func (a *Authorizer) knownLocked(k key) (Answer, bool) {
	r, ok := a.recent.Get(k)
	if !ok || !time.Now().Before(r.until) {
		return Answer{}, false
	}
	return r.Answer, true
}

// remembers reports whether answers about op may be remembered.
func (a *Authorizer) remembers(op auth.Op) bool {
	return a.opt.Cache > 0 && !(a.opt.Data && hasBody(op))
}

func hasBody(op auth.Op) bool { return op == auth.Publish || op == auth.Command || op == auth.Call }

// Ask calls done once with the answer, or with ErrUnavailable; perhaps before it returns, else on a goroutine of the Authorizer's. It
// does not keep q.Data. Where answers are remembered, those who ask the same at a time ask once.
func (a *Authorizer) Ask(q Question, done func(Answer, error)) {
	k, shared := key{q.User, q.Channel, q.Op}, a.remembers(q.Op)
	if shared {
		q.Session, q.Device = "", ""
	}
	a.mu.Lock()
	if shared {
		if answer, ok := a.knownLocked(k); ok { // since Known was asked
			a.mu.Unlock()
			a.known.Add(1)
			a.count(answer)
			done(answer, nil)
			return
		}
		if waiting, underWay := a.flights[k]; underWay {
			a.flights[k] = append(waiting, done)
			a.mu.Unlock()
			return
		}
	}
	if a.closed || a.asking >= maxAsking+maxWaiting {
		a.mu.Unlock()
		a.fail(errTooMany)
		done(Answer{}, ErrUnavailable)
		return
	}
	a.asking++
	if shared {
		a.flights[k] = []func(Answer, error){done}
	}
	body := q.encode(a.opt.Data)
	a.work.Go(func() {
		answer, ttl, err := a.question(body)
		for _, done := range a.landed(k, shared, done, remembered{answer, time.Now().Add(ttl)}, err) {
			done(answer, err)
		}
	})
	a.mu.Unlock()
}

var errTooMany = errors.New("too many questions wait")

// landed returns who waits for an answer. It is remembered before any of them goes on: what comes behind need not ask again.
func (a *Authorizer) landed(k key, shared bool, alone func(Answer, error), r remembered, err error) []func(Answer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asking--
	if !shared {
		return []func(Answer, error){alone}
	}
	waiting := a.flights[k]
	delete(a.flights, k)
	if err == nil {
		a.recent.Add(k, r)
	}
	return waiting
}

// question asks, and returns for how long the answer may be remembered. Its error is ErrUnavailable.
func (a *Authorizer) question(body []byte) (Answer, time.Duration, error) {
	ctx, cancel := context.WithTimeout(a.ctx, a.opt.Timeout)
	defer cancel()
	answer, ttl, err := a.ask(ctx, body)
	if err != nil {
		a.fail(err)
		return Answer{}, 0, ErrUnavailable
	}
	a.count(answer)
	return answer, min(ttl, a.opt.Cache), nil
}

func (a *Authorizer) ask(ctx context.Context, body []byte) (answer Answer, ttl time.Duration, err error) {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return answer, 0, ctx.Err()
	}
	a.asked.Add(1)
	var text []byte
	if a.client != nil {
		text, err = a.post(ctx, body)
	} else {
		text, err = a.opt.Request(ctx, a.opt.Subject, body)
	}
	if err != nil {
		return answer, 0, err
	}
	return decode(text, a.opt.Cache)
}

func (a *Authorizer) count(answer Answer) {
	if !answer.Allow {
		a.denied.Add(1)
	}
}

// fail counts a question without an answer, and now and then says why.
func (a *Authorizer) fail(err error) {
	a.failed.Add(1)
	if a.ctx.Err() == nil {
		a.warn.Do(func() {
			a.opt.Logger.Warn("an authorizer gives no answer, so what is asked is refused", "authorizer", a.opt.Name, "error", err)
		})
	}
}
