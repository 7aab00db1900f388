package soak

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// backend is where the server is at present.
type backend struct{ addr atomic.Pointer[string] }

func (b *backend) set(addr string) { b.addr.Store(&addr) }

func (b *backend) dial() (net.Conn, error) {
	addr := b.addr.Load()
	if addr == nil || *addr == "" {
		return nil, errors.New("soak: there is no server")
	}
	return net.DialTimeout("tcp", *addr, 5*time.Second)
}

// link is one client's way to the server: a listener whose connections are carried to wherever the server is.
type link struct {
	name    string
	l       net.Listener
	backend *backend
	wg      sync.WaitGroup

	mu     sync.Mutex
	closed bool
	pairs  map[*pair]struct{}
	up     gate // from the client to the server
	down   gate // from the server to the client
}

func newLink(name string, b *backend) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &link{name: name, l: l, backend: b, pairs: make(map[*pair]struct{})}
	k.wg.Go(k.accept)
	return k, nil
}

func (k *link) addr() string { return k.l.Addr().String() }

func (k *link) accept() {
	for {
		near, err := k.l.Accept()
		if err != nil {
			return
		}
		k.wg.Go(func() { k.carry(near) })
	}
}

// Small buffers make a reader that does not read felt at the server soon. Smaller ones than a loopback segment (64 KiB) make TCP wait for its timers.
const linkBuffer = 128 << 10

// carry copies in both directions until one of them ends.
func (k *link) carry(near net.Conn) {
	far, err := k.backend.dial()
	if err != nil {
		_ = near.Close()
		return
	}
	for _, c := range []net.Conn{near, far} {
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetReadBuffer(linkBuffer)
			_ = t.SetWriteBuffer(linkBuffer)
		}
	}
	p := &pair{near: near, far: far}
	k.mu.Lock()
	closed := k.closed
	k.pairs[p] = struct{}{}
	k.mu.Unlock()
	if closed {
		p.close()
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.copy(far, near, &k.up) })
	wg.Go(func() { p.copy(near, far, &k.down) })
	wg.Wait()
	k.mu.Lock()
	delete(k.pairs, p)
	k.mu.Unlock()
}

// cut ends the connections of now. What comes next is carried in part; what does not come within grace ends all the same.
func (k *link) cut(grace time.Duration) {
	k.mu.Lock()
	var pairs []*pair
	for p := range k.pairs {
		p.cutting.Store(true)
		pairs = append(pairs, p)
	}
	k.mu.Unlock()
	time.Sleep(grace)
	for _, p := range pairs {
		p.reset()
	}
}

// close ends everything and waits for it.
func (k *link) close() {
	_ = k.l.Close()
	k.mu.Lock()
	k.closed = true
	for p := range k.pairs {
		p.close()
	}
	k.mu.Unlock()
	k.up.open()
	k.down.open()
	k.wg.Wait()
}

// pair is one connection of a client and its continuation to the server.
type pair struct {
	near, far net.Conn
	cutting   atomic.Bool
}

func (p *pair) close() {
	_ = p.near.Close()
	_ = p.far.Close()
}

// reset ends the connection as a network does that forgets it: what is on its way is gone.
func (p *pair) reset() {
	for _, c := range []net.Conn{p.near, p.far} {
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
	}
	p.close()
}

func (p *pair) copy(dst, src net.Conn, g *gate) {
	defer p.close()
	buf := make([]byte, linkBuffer)
	for {
		g.wait()
		n, err := src.Read(buf)
		g.wait()
		if p.cutting.Load() {
			_, _ = dst.Write(buf[:n/2])
			p.reset()
			return
		}
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// gate is open, or lets nobody through. The zero gate is open.
type gate struct {
	mu    sync.Mutex
	shut  int           // how many have shut it
	again chan struct{} // closed when it opens
}

func (g *gate) wait() {
	g.mu.Lock()
	again := g.again
	g.mu.Unlock()
	if again != nil {
		<-again
	}
}

// waitFor is wait, unless done is closed meanwhile: then it returns false.
func (g *gate) waitFor(done <-chan struct{}) bool {
	g.mu.Lock()
	again := g.again
	g.mu.Unlock()
	if again == nil {
		return true
	}
	select {
	case <-again:
		return true
	case <-done:
		return false
	}
}

// close shuts the gate until as many calls of reopen.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut++; g.again == nil {
		g.again = make(chan struct{})
	}
}

func (g *gate) reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut > 0 {
		g.shut--
	}
	if g.shut == 0 && g.again != nil {
		close(g.again)
		g.again = nil
	}
}

// open opens the gate, whoever has shut it.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = 0
	if g.again != nil {
		close(g.again)
		g.again = nil
	}
}
