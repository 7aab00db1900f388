package gateway

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jetwire/jetwire/gateway/session"
	"github.com/jetwire/jetwire/gateway/transport"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams"
)

const (
	historyBytes   = 512 << 10 // bodies in one page
	historyTimeout = 15 * time.Second
)

// pages are the pages of history that one client has asked for. One is read at a time, and none while its socket is
// behind, so that what waits for a socket is at most one page more than its queue.
type pages struct {
	mu      sync.Mutex
	broker  *broker     // nil before the first page
	room    func() bool // of the socket
	waiting []page
	reading bool
	ended   bool
}

type page struct {
	stream *streams.Stream
	asked  wire.History
	done   func(wire.HistoryReply, error)
}

// next takes the next page if there is one, and room for it; otherwise the reading ends.
func (p *pages) next() (page, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 || !p.room() {
		p.reading = false
		return page{}, false
	}
	first := p.waiting[0]
	p.waiting[0] = page{}
	p.waiting = p.waiting[1:]
	return first, true
}

// add takes a page of c's in.
func (p *pages) add(b *broker, c *transport.Conn, one page) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		if p.broker == nil {
			p.broker, p.room = b, c.Room
		}
		p.waiting = append(p.waiting, one)
	}
	p.startLocked()
}

// goOn reads what had to wait until the socket had room.
func (p *pages) goOn() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.startLocked()
}

func (p *pages) startLocked() {
	if p.reading || len(p.waiting) == 0 {
		return
	}
	p.reading = true
	p.broker.work.Go(p.read)
}

// end drops what waits, with the connection.
func (p *pages) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting, p.ended = nil, true
}

func (b *broker) History(c session.Conn, h wire.History, done func(wire.HistoryReply, error)) {
	cl := c.(member).base()
	p := &cl.extra().pages
	b.log.With(h.Channel, func(s *streams.Stream, err error) {
		if err != nil {
			done(wire.HistoryReply{}, wireError(err))
			return
		}
		p.add(b, cl.conn, page{s, h, done})
	})
}

func (p *pages) read() {
	for {
		one, ok := p.next()
		if !ok {
			return
		}
		r, err := p.broker.readHistory(one.stream, one.asked)
		if err != nil {
			err = wireError(err)
		}
		one.done(r, err)
	}
}

func (b *broker) readHistory(s *streams.Stream, h wire.History) (wire.HistoryReply, error) {
	ctx, cancel := context.WithTimeout(b.ctx, historyTimeout)
	defer cancel()
	select {
	case b.reading <- struct{}{}:
		defer func() { <-b.reading }()
	case <-ctx.Done():
		return wire.HistoryReply{}, ctx.Err()
	}
	plan, err := planHistory(ctx, s, h, b.page)
	if err != nil {
		return wire.HistoryReply{}, err
	}
	page, err := s.Page(ctx, plan.request)
	if err != nil {
		return wire.HistoryReply{}, err
	}
	r := wire.HistoryReply{Channel: h.Channel, Epoch: s.Epoch(), Next: plan.next(page)}
	for _, m := range page.Messages {
		r.Messages = append(r.Messages, wireMessage(m))
	}
	if plan.left > 0 {
		slices.Reverse(r.Messages)
	}
	if page.LostTo > 0 {
		r.Lost = &wire.Range{From: page.LostFrom, To: page.LostTo}
	}
	return r, nil
}

// plan is one page of a walk through a channel's past, and what the next page needs to know. It travels as the cursor.
type plan struct {
	request streams.PageRequest
	epoch   string
	left    int // of "last N": how many are still wanted; such pages are read newest first and listed oldest first
}

func planHistory(ctx context.Context, s *streams.Stream, h wire.History, most int) (plan, error) {
	p := plan{epoch: s.Epoch()}
	if h.Cursor != "" {
		if err := p.parse(h.Cursor); err != nil {
			return p, wire.BadRequest.With("cursor: not one that this server gave")
		}
	} else {
		// A walk ends there, so that it comes to an end while messages arrive. What the client knows to be stored must not lie behind it.
		head, err := s.Await(ctx, h.Channel, h.Until)
		if err != nil {
			return p, err
		}
		p.request = streams.PageRequest{After: h.Since, Until: head, Newest: h.Newest || h.Last > 0}
		if h.Until > 0 {
			p.request.Until = min(h.Until, head)
		}
		p.left = h.Last
		if h.SinceTime > 0 {
			p.request.Since = time.UnixMilli(h.SinceTime).UnixNano()
		}
		if h.Epoch != "" {
			p.epoch = h.Epoch
		}
	}
	if p.epoch != s.Epoch() {
		return p, wire.WrongEpoch.Err()
	}
	p.request.Channel, p.request.MaxBytes = h.Channel, historyBytes
	p.request.Limit = most
	if h.Limit > 0 {
		p.request.Limit = min(h.Limit, most)
	} else if p.left == 0 {
		p.request.Limit = min(streams.DefaultPageLimit, most)
	}
	if p.left > 0 {
		p.request.Limit = min(p.request.Limit, p.left)
	}
	return p, nil
}

// next is the cursor of the page after this one; empty: there is none.
func (p plan) next(page streams.Page) string {
	if !page.More {
		return ""
	}
	if p.left > 0 {
		if p.left -= len(page.Messages); p.left <= 0 {
			return ""
		}
	}
	r := p.request
	if r.Newest {
		r.Until = page.Through - 1
	} else {
		r.After = page.Through
	}
	newest := 0
	if r.Newest {
		newest = 1
	}
	return fmt.Sprintf("%s.%d.%d.%d.%d.%d", p.epoch, r.After, r.Until, r.Since, newest, p.left)
}

func (p *plan) parse(cursor string) error {
	parts := strings.Split(cursor, ".")
	if len(parts) != 6 {
		return strconv.ErrSyntax
	}
	var n [5]uint64
	for i := range n {
		v, err := strconv.ParseUint(parts[i+1], 10, 63)
		if err != nil {
			return err
		}
		n[i] = v
	}
	p.epoch, p.left = parts[0], int(n[4])
	p.request = streams.PageRequest{After: n[0], Until: n[1], Since: int64(n[2]), Newest: n[3] == 1}
	if p.request.Until == 0 {
		return strconv.ErrRange
	}
	return nil
}
