package gateway

import (
	"strings"
	"testing"

	"github.com/jetwire/jetwire/gateway/hub"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams"
)

// A message is encoded once for all its sockets; that costs the frame, and nothing that its size multiplies.
func TestMessageFrameAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget")
	}
	m := &streams.Message{Channel: "chat.a", Seq: 5, Prev: 4, Time: 1e18, ID: "m1", From: "alice", Body: []byte(`{"text":"` + strings.Repeat("x", 500) + `"}`)}
	if n := testing.AllocsPerRun(200, func() { messageFrame(m, 0, "") }); n > 2 {
		t.Errorf("%v allocations, want 2 at most", n)
	}
}

func TestGapFrame(t *testing.T) {
	for want, g := range map[string]hub.Gap{
		`{"gap":{"channel":"chat.a","epoch":"e","from":2,"to":5,"reason":"retention"}}`: {Channel: "chat.a", Epoch: "e", From: 2, To: 5},
		`{"gap":{"channel":"chat.a","epoch":"e","from":0,"reason":"epoch"}}`:            {Channel: "chat.a", Epoch: "e", NewEpoch: true},
	} {
		if got := gapFrame(g); string(got[2:]) != want || int(got[1]) != len(want) || got[0] != 0x81 {
			t.Errorf("%q, want %s", got, want)
		}
	}
}

// A cursor comes back as it was given, and nothing else makes trouble.
func FuzzCursor(f *testing.F) {
	f.Add("e.1.2.3.0.4", uint64(5))
	f.Add("e.1.2.3.1.0", uint64(2))
	f.Add("e.0.0.0.0.0", uint64(1))
	f.Add("....", uint64(1))
	f.Fuzz(func(t *testing.T, cursor string, through uint64) {
		var p plan
		if err := p.parse(cursor); err != nil {
			return
		}
		through = through%(1<<62) + 2
		next := p.next(streams.Page{More: true, Through: through, Messages: make([]*streams.Message, 1)})
		if next == "" {
			if p.left != 1 {
				t.Fatalf("%q has no next page", cursor)
			}
			return
		}
		var q plan
		if err := q.parse(next); err != nil {
			t.Fatalf("%q: %v", next, err)
		}
		if q.epoch != p.epoch || q.request.Newest != p.request.Newest || q.request.Since != p.request.Since {
			t.Fatalf("%+v became %+v", p, q)
		}
		if q.request.Newest && q.request.Until != through-1 || !q.request.Newest && q.request.After != through {
			t.Fatalf("%+v does not go on behind %d", q, through)
		}
	})
}

// Every error that the log may return is a code that clients know; others become a fixed text.
func TestEveryErrorOfTheLogHasACode(t *testing.T) {
	for _, err := range []error{
		streams.ErrBadChannel, streams.ErrUnknownNamespace, streams.ErrTooManyNamespaces, streams.ErrUnavailable, streams.ErrTimeout,
		streams.ErrTooLarge, streams.ErrStoreFull, streams.ErrClosed, streams.ErrWrongEpoch, streams.ErrBadPublication,
	} {
		if e := wireError(err); e.Code == wire.Internal {
			t.Errorf("%v has no code", err)
		}
	}
}
