package transport

import (
	"testing"
	"time"
)

// A deadline does not come early, however long the ticks are beside it: an hour between pings leaves the handshake its time.
func TestDeadlineIsNotEarly(t *testing.T) {
	for _, d := range []time.Duration{1, closeTimeout, 10 * time.Second, time.Minute, time.Hour} {
		table := newTable(time.Hour)
		if !table.add(new(Conn), d) {
			t.Fatal("no room")
		}
		ticks := 1
		for len(table.advance(nil)) == 0 {
			ticks++
		}
		// The first tick may come at once.
		if least, most := time.Duration(ticks-1)*table.tick, time.Duration(ticks)*table.tick; least < d || most > d+2*table.tick {
			t.Errorf("a deadline in %v comes in %v to %v", d, least, most)
		}
	}
}

// unwritten is a link that takes nothing.
type unwritten struct{ link }

func (unwritten) want(bool, bool) {}
func (unwritten) end()            {}

// A Conn that is closed just when its heartbeat is due has its time to answer the close frame.
func TestClosedWhileBeatIsDue(t *testing.T) {
	g := newGroup(&Server{opt: Options{}.withDefaults()}, 0)
	c := &Conn{group: g, link: unwritten{}, state: open, settled: true}
	g.table.add(c, time.Nanosecond)
	for len(g.table.advance(nil)) == 0 {
	}
	c.Close(1000, "")
	if c.beat(); c.state != closing || c.out == nil {
		t.Error("it is ended, and its close frame dropped")
	}
}
