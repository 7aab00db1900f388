package transport

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/gateway/wsock"
)

// numbered is a frame of two numbers.
func numbered(a, b uint64) []byte {
	return wsock.AppendFrame(nil, ws.OpBinary, binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, a), b))
}

func readNumbered(conn io.ReadWriter) (a, b uint64, err error) {
	p, _, err := wsutil.ReadServerData(conn)
	if err != nil || len(p) != 16 {
		return 0, 0, errors.Join(err, errors.New("no numbered frame"))
	}
	return binary.BigEndian.Uint64(p), binary.BigEndian.Uint64(p[8:]), nil
}

// Whoever offers frames while another writes leaves them to be written: none is lost, doubled or overtaken, and none stays.
func TestOfferedWhileOthersWrite(t *testing.T) {
	const sides, frames = 4, 5000
	both(t, func(t *testing.T, o Options) {
		o.QueueBytes = sides * frames * 32
		o.PingInterval = time.Hour // a heartbeat would write what was forgotten
		s := serve(t, o)
		conns, read := make([]*Conn, 3), make([]net.Conn, 3)
		for i := range conns {
			read[i] = dial(t, s.addr)
			conns[i] = <-s.conns
			conns[i].Establish()
		}
		var work sync.WaitGroup
		for side := range uint64(sides) {
			work.Go(func() {
				for n := range uint64(frames) {
					var flush []*Conn
					for _, c := range conns {
						if taken, due := c.Offer(numbered(side, n)); !taken {
							t.Error("a frame was refused")
						} else if due {
							flush = append(flush, c)
						}
					}
					Flush(flush)
				}
			})
		}
		for _, conn := range read {
			work.Go(func() {
				var next [sides]uint64
				for range sides * frames {
					side, n, err := readNumbered(conn)
					if err != nil || n != next[side] {
						t.Errorf("got %d of side %d, %v; want %d", n, side, err, next[side])
						return
					}
					next[side]++
				}
			})
		}
		work.Wait()
	})
}

// marked is a Receiver whose Conn gets frames with one mark.
type marked struct {
	mark uint64
	left *sync.Map
}

func (*marked) Receive(*Conn, bool, []byte) {}
func (*marked) Drained(*Conn)               {}
func (*marked) Beat(*Conn)                  {}

func (m *marked) Closed(*Conn, wire.Code) { m.left.Delete(m.mark) }

// A descriptor's number is another socket's as soon as it is closed: it stays open for as long as somebody writes to it.
func TestFramesReachNobodyElse(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		var marks atomic.Uint64
		var conns sync.Map
		o.Open = func(c *Conn, _ string) Receiver {
			m := &marked{mark: marks.Add(1), left: &conns}
			conns.Store(m.mark, c)
			return m
		}
		s := serve(t, o)
		var work, writers sync.WaitGroup
		done := make(chan struct{})
		for range 3 {
			writers.Go(func() {
				for n := uint64(0); ; n++ {
					select {
					case <-done:
						return
					default:
					}
					var flush []*Conn
					conns.Range(func(mark, c any) bool {
						if _, due := c.(*Conn).Offer(numbered(mark.(uint64), n)); due {
							flush = append(flush, c.(*Conn))
						}
						return true
					})
					Flush(flush)
				}
			})
		}
		for range 4 {
			work.Go(func() {
				for range 120 {
					if err := visit(s.addr); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		work.Wait()
		close(done)
		writers.Wait()
	})
}

// visit reads some frames of one connection, which all have to have the same mark, and leaves without a word.
func visit(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	early, _, err := (ws.Dialer{}).Upgrade(conn, mustURL("ws://"+addr+"/"))
	if err != nil {
		return err
	}
	var in io.Reader = conn
	if early != nil {
		in = early
	}
	first := uint64(0)
	for i := range 3 {
		mark, _, err := readNumbered(struct {
			io.Reader
			io.Writer
		}{in, conn})
		if err != nil {
			return err
		}
		if i == 0 {
			first = mark
		}
		if mark != first {
			return errors.New("a frame of another connection has come")
		}
	}
	return nil
}
