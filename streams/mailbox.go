package streams

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jetwire/jetwire/streams/tap"
)

// letter is what a consumer pushes: a message, or control; neither: it cannot be read.
type letter struct {
	cseq    uint64 // of a message
	message *Message
	control *control
}

// control is a heartbeat, or flow control.
type control struct {
	reply string // a subject that waits for an answer; empty: none
	last  uint64 // the consumer sequence of the last message before
	known bool   // last is said
}

// mailbox is what has been read for a feed, and waits for its turn: nobody who reads waits for those who handle it.
type mailbox struct {
	came  chan struct{} // one token: there is something
	heard atomic.Int64  // Unix ns; when something came last

	arena  arena    // owned by whoever reads
	coming []letter // owned by whoever reads: since the last rest

	mu   sync.Mutex
	full []letter
	used []letter // emptied, to be filled again; nil: it is in use
}

func (b *mailbox) init() {
	b.came = make(chan struct{}, 1)
	b.heard.Store(time.Now().UnixNano())
}

// quiet reports whether nothing waits, and nothing has come for so long.
func (b *mailbox) quiet(d time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.full) == 0 && time.Since(time.Unix(0, b.heard.Load())) > d
}

// open returns what waits. It is the caller's until the next call.
func (b *mailbox) open() []letter {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.used)
	letters := b.full
	b.full, b.used = b.used[:0], letters
	if cap(letters) > feedRunSynced { // a burst is over
		b.used = nil
	}
	return letters
}

// take takes what the consumer pushes.
func (f *feed) take(m *tap.Message) {
	b := &f.mail
	if bytes.Equal(m.Subject, f.subject) {
		b.coming = append(b.coming, letter{control: controlOf(m)})
		return
	}
	at, ok := parseAckSubject(m.Reply)
	if !ok {
		b.coming = append(b.coming, letter{})
		return
	}
	message := b.arena.message(m.Subject, m.Header, m.Body)
	message.Seq, message.Time = at.sseq, at.time
	b.coming = append(b.coming, letter{cseq: at.cseq, message: message})
}

func (f *feed) rest() {
	b := &f.mail
	b.heard.Store(time.Now().UnixNano())
	b.arena.rest()
	b.mu.Lock()
	b.full = append(b.full, b.coming...)
	b.mu.Unlock()
	clear(b.coming)
	if b.coming = b.coming[:0]; cap(b.coming) > feedRunSynced {
		b.coming = nil
	}
	select {
	case b.came <- struct{}{}:
	default:
	}
}

func controlOf(m *tap.Message) *control {
	c := &control{reply: string(m.Reply)}
	for k, v := range m.Header.All() {
		switch string(k) {
		case "Nats-Consumer-Stalled":
			if c.reply == "" {
				c.reply = string(v)
			}
		case "Nats-Last-Consumer":
			c.last, c.known = decimal(v)
		}
	}
	return c
}
