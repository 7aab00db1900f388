package gateway_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/natstest"
)

// walk reads page after page and returns their sequences.
func (r *raw) walk(fields string) (pages [][]uint64) {
	r.t.Helper()
	for {
		h := r.must("history", `"channel":"chat.a",`+fields).History
		page := []uint64{}
		for _, m := range h.Messages {
			page = append(page, m.Seq)
		}
		pages = append(pages, page)
		if h.Next == "" {
			return pages
		}
		if len(pages) > 100 {
			r.t.Fatalf("a walk without end: %v", pages)
		}
		fields = fmt.Sprintf(`"limit":3,"cursor":%q`, h.Next)
	}
}

// fill publishes n messages each on chat.a (odd sequences) and chat.b, and waits until history holds them.
func (r *raw) fill(n int) {
	r.t.Helper()
	var last uint64
	for range n {
		last = r.publish("chat.a", `1`)
		r.publish("chat.b", `1`)
	}
	r.hold("chat.a", last)
}

// hold waits until history holds a message: an acknowledgement may be here before the tail.
func (r *raw) hold(channel string, seq uint64) {
	r.t.Helper()
	eventually(r.t, "history to hold what was published", func() bool {
		h := r.must("history", `"channel":"`+channel+`","last":1`).History
		return len(h.Messages) == 1 && h.Messages[0].Seq >= seq
	})
}

func TestHistoryPages(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		g := start(t, ns, change)
		alice := g.signIn("alice")
		if got := alice.walk(`"limit":3`); len(got) != 1 || len(got[0]) != 0 {
			t.Errorf("of nothing: %v", got)
		}
		alice.fill(8) // 1, 3 … 15
		for _, c := range []struct {
			fields string
			want   [][]uint64
		}{
			{`"limit":3`, [][]uint64{{1, 3, 5}, {7, 9, 11}, {13, 15}}},
			{`"limit":4`, [][]uint64{{1, 3, 5, 7}, {9, 11, 13}, {15}}},
			{`"limit":3,"order":"oldest","since":4,"until":12`, [][]uint64{{5, 7, 9}, {11}}},
			{`"limit":3,"order":"newest"`, [][]uint64{{15, 13, 11}, {9, 7, 5}, {3, 1}}},
			{`"limit":3,"order":"newest","since":4,"until":12`, [][]uint64{{11, 9, 7}, {5}}},
			{`"limit":3,"since":15`, [][]uint64{{}}},
			{`"limit":3,"order":"newest","until":1`, [][]uint64{{1}}},
			{`"last":2`, [][]uint64{{13, 15}}},
			{`"last":8`, [][]uint64{{1, 3, 5, 7, 9, 11, 13, 15}}},
			{`"last":100`, [][]uint64{{1, 3, 5, 7, 9, 11, 13, 15}}},
			{`"since_time":1`, [][]uint64{{1, 3, 5, 7, 9, 11, 13, 15}}},
			{fmt.Sprintf(`"since_time":%d`, time.Now().Add(time.Hour).UnixMilli()), [][]uint64{{}}},
		} {
			if got := alice.walk(c.fields); !slices.EqualFunc(got, c.want, slices.Equal) {
				t.Errorf("%s: %v, want %v", c.fields, got, c.want)
			}
		}
		// A page that the server keeps smaller than what was asked for.
		small := start(t, ns, func(o *gateway.Options) {
			change(o)
			o.Limits.HistoryPage = 3
		}).signIn("alice")
		for _, c := range []struct {
			fields string
			want   [][]uint64
		}{
			{`"last":3`, [][]uint64{{11, 13, 15}}},
			{`"last":5`, [][]uint64{{11, 13, 15}, {7, 9}}},
			{`"last":6`, [][]uint64{{11, 13, 15}, {5, 7, 9}}},
			{`"last":1000`, [][]uint64{{11, 13, 15}, {5, 7, 9}, {1, 3}}},
			{`"limit":1000`, [][]uint64{{1, 3, 5}, {7, 9, 11}, {13, 15}}},
		} {
			if got := small.walk(c.fields); !slices.EqualFunc(got, c.want, slices.Equal) {
				t.Errorf("%s: %v, want %v", c.fields, got, c.want)
			}
		}
		for _, fields := range []string{`"last":1,"since":2`, `"cursor":"x","since":2`, `"last":0`, `"limit":0`, `"order":"up"`} {
			alice.refused(wire.BadRequest, "history", `"channel":"chat.a",`+fields)
		}
	})
}

func TestHistorySinceTime(t *testing.T) {
	g := start(t, natstest.Run(t), nil)
	alice := g.signIn("alice")
	alice.fill(4)
	last := alice.must("history", `"channel":"chat.a","last":1`).History.Messages[0]
	eventually(t, "the clock to go on", func() bool { return time.Now().UnixMilli() > last.Time+5 })
	border := time.Now().UnixMilli()
	alice.fill(4) // from 9 on
	for order, want := range map[string][]uint64{"oldest": {9, 11, 13, 15}, "newest": {15, 13, 11, 9}} {
		got := slices.Concat(alice.walk(fmt.Sprintf(`"limit":3,"order":%q,"since_time":%d`, order, border))...)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", order, got, want)
		}
	}
}

// Messages that arrive during a walk are not part of it, and it meets what a subscription brings without seam.
func TestHistoryMeetsLive(t *testing.T) {
	g := start(t, natstest.Run(t), nil)
	alice, bob := g.signIn("alice"), g.signIn("bob")
	alice.fill(6) // 1, 3 … 11
	head := bob.must("subscribe", `"channel":"chat.a"`).Subscribe.Seq
	first := bob.must("history", fmt.Sprintf(`"channel":"chat.a","limit":2,"until":%d`, head)).History
	open := bob.must("history", `"channel":"chat.a","limit":2`).History
	for range 4 {
		alice.publish("chat.a", `2`)
	}
	var live []uint64
	for range 4 {
		live = append(live, bob.message().Seq)
	}
	for _, page := range []wire.HistoryReply{first, open} {
		got := []uint64{page.Messages[0].Seq, page.Messages[1].Seq}
		for _, p := range bob.walk(fmt.Sprintf(`"limit":2,"cursor":%q`, page.Next)) {
			got = append(got, p...)
		}
		if want := []uint64{1, 3, 5, 7, 9, 11}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	if want := []uint64{13, 14, 15, 16}; !slices.Equal(live, want) {
		t.Errorf("live: %v, want %v", live, want)
	}
	if back := bob.walk(fmt.Sprintf(`"order":"newest","limit":3,"until":%d`, live[0]-1)); !slices.Equal(slices.Concat(back...), []uint64{11, 9, 7, 5, 3, 1}) {
		t.Errorf("backwards: %v", back)
	}
}

// What the log no longer holds is named: in history, and to subscribers.
func TestLost(t *testing.T) {
	ns := natstest.Run(t)
	g := start(t, ns, nil)
	alice, bob, carol := g.signIn("alice"), g.signIn("bob"), g.signIn("carol")
	alice.fill(6) // 1, 3 … 11
	js, err := jetstream.New(ns.Conn())
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "JW_chat")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(6)); err != nil { // 1, 3 and 5 are gone
		t.Fatal(err)
	}
	eventually(t, "history to say what is lost", func() bool {
		h := alice.must("history", `"channel":"chat.a"`).History
		return h.Lost != nil && h.Lost.To >= 5 && len(h.Messages) == 3
	})
	h := alice.must("history", `"channel":"chat.a","since":2,"limit":2`).History
	if h.Lost == nil || h.Lost.From != 3 || h.Lost.To < 5 || h.Lost.To > 6 || h.Messages[0].Seq != 7 {
		t.Errorf("%+v %+v", h, h.Lost)
	}
	if h := alice.must("history", `"channel":"chat.a","since":6`).History; h.Lost != nil || len(h.Messages) != 3 {
		t.Errorf("behind what is lost: %+v %+v", h, h.Lost)
	}
	sub := bob.must("subscribe", `"channel":"chat.a","since":1`).Subscribe
	in := bob.next()
	if in.Kind != wire.KindGap || in.Gap.Reason != wire.GapRetention || in.Gap.From != 2 || in.Gap.To < 5 || in.Gap.To > 6 || in.Gap.Epoch != sub.Epoch {
		t.Fatalf("%+v", in)
	}
	for _, seq := range []uint64{7, 9, 11} {
		if m := bob.message(); m.Seq != seq || m.Prev > in.Gap.To && m.Prev != seq-2 {
			t.Errorf("%+v", m)
		}
	}
	// One in the middle, deleted by hand: a subscriber that has what lies before it is told of nothing else.
	if err := stream.DeleteMsg(t.Context(), 9); err != nil {
		t.Fatal(err)
	}
	pos, got := uint64(6), []uint64{}
	carol.must("subscribe", `"channel":"chat.a","since":6`)
	alice.publish("chat.a", `"end"`)
	for len(got) == 0 || got[len(got)-1] != 13 {
		switch in := carol.next(); in.Kind {
		case wire.KindMessage:
			if in.Message.Prev > pos {
				t.Errorf("%+v at %d", in.Message, pos)
			}
			pos = in.Message.Seq
			got = append(got, pos)
		case wire.KindGap:
			if in.Gap.From <= pos || in.Gap.To < in.Gap.From || in.Gap.From <= 7 || in.Gap.From <= 11 && in.Gap.To >= 11 {
				t.Errorf("%+v at %d", in.Gap, pos)
			}
			pos = in.Gap.To
		default:
			t.Fatalf("%+v", in)
		}
	}
	// 9 may come yet, from the memory of the gateway, or its loss is named.
	if !slices.Equal(got, []uint64{7, 11, 13}) && !slices.Equal(got, []uint64{7, 9, 11, 13}) {
		t.Errorf("%v", got)
	}
}

// Who subscribes in the midst of messages, and loads what is older until the reply's seq, has everything once.
func TestHistoryMeetsTheLiveMessages(t *testing.T) {
	g := start(t, natstest.Run(t), nil)
	bob, stop, stopped := g.signIn("bob"), make(chan struct{}), make(chan struct{})
	bob.hold("chat.a", bob.publish("chat.a", `0`))
	go func() {
		defer close(stopped)
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
				bob.publish([]string{"chat.a", "chat.b"}[i%2], `1`)
			}
		}
	}()
	for range 10 {
		alice := g.signIn("alice")
		at := alice.must("subscribe", `"channel":"chat.a"`).Subscribe
		var older []wire.Message
		for fields := fmt.Sprintf(`"channel":"chat.a","order":"newest","limit":7,"until":%d`, at.Seq); ; {
			page := alice.must("history", fields).History
			for _, m := range page.Messages {
				m.Body = nil
				older = append(older, m)
			}
			if page.Next == "" {
				break
			}
			fields = `"channel":"chat.a","limit":7,"cursor":"` + page.Next + `"`
		}
		slices.Reverse(older)
		for range 10 {
			older = append(older, alice.message())
		}
		prev := uint64(0)
		for i, m := range older {
			if m.Seq <= prev || m.Prev != prev {
				t.Fatalf("message %d of %d, attached at %d: seq %d with prev %d follows %d", i, len(older), at.Seq, m.Seq, m.Prev, prev)
			}
			prev = m.Seq
		}
		_ = alice.conn.Close()
	}
	close(stop)
	<-stopped
}
