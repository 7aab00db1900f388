package transport

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// closeTimeout is how long a peer may take to answer a close frame.
const closeTimeout = 5 * time.Second

// group is what some of a Server's Conns share: a writer, a table and counters. On Linux each epoll loop has one.
type group struct {
	srv   *Server
	index uint32   // among the server's
	opt   *Options // srv's
	table *table
	loop  *loop // nil: there is no epoll

	bytesIn, bytesOut, messagesIn atomic.Uint64

	mu      sync.Mutex
	handed  []*Conn // that wait to be flushed
	awake   bool    // the writer will look at handed again before it waits
	wake    chan struct{}
	stopped bool
}

func newGroup(s *Server, index int) *group {
	longest := max(s.opt.PingInterval, s.opt.HandshakeTimeout, closeTimeout)
	return &group{srv: s, index: uint32(index), opt: &s.opt, table: newTable(longest), wake: make(chan struct{}, 1)}
}

// hand asks the writer to flush conns.
func (g *group) hand(conns ...*Conn) {
	g.mu.Lock()
	g.handed = append(g.handed, conns...)
	wake := !g.awake
	g.awake = true
	g.mu.Unlock()
	if wake {
		select {
		case g.wake <- struct{}{}:
		default:
		}
	}
}

// write flushes what was handed over, until stop.
func (g *group) write() {
	var batch []*Conn
	for range g.wake {
		s := getScratch()
		for {
			clear(batch)
			g.mu.Lock()
			batch, g.handed = g.handed, batch[:0]
			if len(batch) == 0 {
				g.awake = false
				stopped := g.stopped
				g.mu.Unlock()
				if stopped {
					s.release()
					return
				}
				break
			}
			g.mu.Unlock()
			for _, c := range batch {
				c.flush(s)
			}
		}
		s.release()
	}
}

// stop ends the writer.
func (g *group) stop() {
	g.mu.Lock()
	g.stopped, g.awake = true, true
	g.mu.Unlock()
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// turn advances the table by one tick.
func (g *group) turn(due []*Conn, s *scratch) []*Conn {
	due = g.table.advance(due[:0])
	for _, c := range due {
		settled := c.beat()
		c.flush(s)
		if settled {
			c.recv.Beat(c)
		}
	}
	clear(due)
	return due
}

// spread picks a time for the first heartbeat, so that sockets that came together do not beat together.
func spread(d time.Duration) time.Duration { return time.Duration(rand.Int64N(int64(d))) + 1 }

// inlineFlush is up to how many sockets the goroutine that has the frame writes to by itself: handing over to another
// goroutine costs more than writing.
const inlineFlush = 64

// Flush writes what was queued for conns, each in as few writes as it takes: at once if they are few, otherwise by their
// writers. The slice is the caller's again afterwards.
func Flush(conns []*Conn) {
	if len(conns) <= inlineFlush {
		s := getScratch()
		for _, c := range conns {
			c.flush(s)
		}
		s.release()
		return
	}
	for len(conns) > 0 {
		g, n := conns[0].group, 1
		for n < len(conns) && conns[n].group == g {
			n++
		}
		g.hand(conns[:n]...)
		conns = conns[n:]
	}
}
