package hub

import (
	"sync"
	"time"
	"unique"

	"github.com/jetwire/jetwire/streams"
)

// sharedPage is a page of a topic's log, read and encoded once for all cursors that stand in it. Those that fell behind
// together stay together: whoever was given the rest of a page stands at the beginning of the next.
type sharedPage struct {
	topic *topic
	after uint64
	epoch unique.Handle[string] // of the topic when the reading began
	begun time.Time
	done  chan struct{} // closed when the fields below are set

	streams.Page
	frames [][]byte
	err    error

	bytes int // guarded by pages.mu; -1: forgotten
}

// covers reports whether a page that has been read holds what comes after a position, or whether one under way begins there.
func (p *sharedPage) covers(at place) bool {
	if p.epoch != at.epoch {
		return false
	}
	select {
	case <-p.done:
		return p.err == nil && p.after <= at.seen && at.seen < p.Through
	default:
		return p.after == at.seen
	}
}

// pages remembers recent pages of topics that several cursors read. mu is a leaf.
type pages struct {
	mu    sync.Mutex
	list  []*sharedPage // of all topics, oldest first, as topic.pages is
	bytes int
}

// pageLife bounds how long a page is given out: messages that have left the log meanwhile must not be seen for long.
const pageLife = 2 * time.Second

// page returns what comes after a place, and how many of the page's messages lie before it.
func (h *Hub) page(t *topic, at place, shared bool) (p *sharedPage, skip int) {
	if !shared {
		p = &sharedPage{topic: t, after: at.seen, epoch: at.epoch}
		h.read(p)
		return p, 0
	}
	p, mine := h.pages.find(t, at, h.opt.SharedBytes)
	if mine {
		h.read(p)
		close(p.done)
		h.pages.hold(p)
		return p, 0
	}
	<-p.done
	for skip < len(p.Messages) && p.Messages[skip].Seq <= at.seen {
		skip++
	}
	return p, skip
}

// read reads a page and encodes its messages.
func (h *Hub) read(p *sharedPage) {
	t := p.topic
	p.Page, p.err = t.log.Page(h.ctx, streams.PageRequest{
		Channel: t.name, After: p.after, Limit: h.opt.PageMessages, MaxBytes: h.opt.PageBytes,
	})
	p.frames = make([][]byte, len(p.Messages))
	for i, m := range p.Messages {
		p.frames[i] = h.opt.Message(m, m.Prev, t.pattern())
	}
}

// find returns a page that covers the place, or a new one that the caller has to read.
func (s *pages) find(t *topic, at place, most int) (p *sharedPage, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for len(s.list) > 0 && (s.bytes > most || now.Sub(s.list[0].begun) > pageLife) {
		s.dropLocked()
	}
	for _, p := range t.pages {
		if p.covers(at) {
			return p, false
		}
	}
	p = &sharedPage{topic: t, after: at.seen, epoch: at.epoch, begun: now, done: make(chan struct{})}
	s.list, t.pages = append(s.list, p), append(t.pages, p)
	return p, true
}

// dropLocked forgets the oldest page.
func (s *pages) dropLocked() {
	p := s.list[0]
	s.list[0], p.topic.pages[0] = nil, nil
	s.list, p.topic.pages = s.list[1:], p.topic.pages[1:]
	s.bytes -= p.bytes
	p.bytes = -1
}

// hold counts what a page that has been read takes, unless it has been forgotten.
func (s *pages) hold(p *sharedPage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.bytes < 0 {
		return
	}
	for i, f := range p.frames {
		p.bytes += len(f) + len(p.Messages[i].Body)
	}
	s.bytes += p.bytes
}
