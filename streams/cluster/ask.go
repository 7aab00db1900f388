package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Handle has f answer what gateways ask under op, one NATS token. f is called on goroutines of the Cluster's, several at a time; what it
// returns for a Tell is dropped. Call it before anybody asks.
func (c *Cluster) Handle(op string, f func(body []byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handlers[op] = f
}

func (c *Cluster) handler(op string) func([]byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.handlers[op]
}

// Tell has every gateway's handler of op called, this one's before it returns, the others' at most once.
func (c *Cluster) Tell(op string, body []byte) {
	if f := c.handler(op); f != nil {
		f(body)
	}
	_ = c.conn.Publish(askPrefix+op, body)
}

// Ask returns what the handlers of op answer on every gateway that lives, this one's first. The error joins an ErrNoAnswer for each gateway
// that gave none before ctx ended; a gateway that leaves meanwhile is not waited for. The answers are good all the same.
func (c *Cluster) Ask(ctx context.Context, op string, body []byte) ([]Answer, error) {
	waiting := c.members()
	var answers []Answer
	if len(waiting) == 0 {
		if f := c.handler(op); f != nil {
			answers = append(answers, Answer{c.self.ID, f(body)})
		}
		return answers, nil
	}
	inbox := c.conn.NewInbox()
	came := make(chan *nats.Msg, 2*len(waiting)+16)
	sub, err := c.conn.ChanSubscribe(inbox, came)
	if err == nil {
		defer func() { _ = sub.Unsubscribe() }()
		err = c.conn.PublishRequest(askPrefix+op, inbox, body)
	}
	if f := c.handler(op); f != nil {
		answers = append(answers, Answer{c.self.ID, f(body)})
	}
	if err != nil {
		return answers, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var errs []error
	check := time.NewTicker(Beat / 10) // for those who have left
	defer check.Stop()
	for len(waiting) > 0 {
		select {
		case m := <-came:
			id := m.Header.Get(nodeHeader)
			if waiting[id] == nil {
				continue
			}
			delete(waiting, id)
			if why := m.Header.Get(errorHeader); why != "" {
				errs = append(errs, fmt.Errorf("%w from gateway %s: %s", ErrNoAnswer, id, why))
			} else {
				answers = append(answers, Answer{id, m.Data})
			}
		case <-check.C:
			for id, m := range waiting {
				select {
				case <-m.gone:
					delete(waiting, id)
				default:
				}
			}
		case <-ctx.Done():
			for id := range waiting {
				errs = append(errs, fmt.Errorf("%w from gateway %s", ErrNoAnswer, id))
			}
			waiting = nil
		}
	}
	return answers, errors.Join(errs...)
}

// onAsk answers another gateway. What is told is handled in the order in which it comes; questions are answered several at a time.
func (c *Cluster) onAsk(m *nats.Msg) {
	op := strings.TrimPrefix(m.Subject, askPrefix)
	f := c.handler(op)
	if m.Reply == "" {
		if f != nil {
			f(m.Data)
		}
		return
	}
	c.places <- struct{}{}
	go func() {
		defer func() { <-c.places }()
		answer := &nats.Msg{Subject: m.Reply, Header: nats.Header{nodeHeader: {c.self.ID}}}
		if f == nil {
			answer.Header.Set(errorHeader, "it does not know "+op+"; it may be of another version")
		} else {
			answer.Data = f(m.Data)
		}
		if errors.Is(c.conn.PublishMsg(answer), nats.ErrMaxPayload) {
			answer.Data = nil
			answer.Header.Set(errorHeader, "its answer is larger than NATS takes")
			_ = c.conn.PublishMsg(answer)
		}
	}()
}
