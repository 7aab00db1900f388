package streams

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jetwire/jetwire/streams/natstest"
)

// patternWalk reads a pattern page by page and keeps what it got.
type patternWalk struct {
	pattern      string
	after, until uint64
	limit, bytes int

	position uint64
	got      map[uint64]*Message
	losses   [][2]uint64
}

type fataler interface{ Fatalf(string, ...any) }

// run walks to the end, and checks what every single page promises.
func (k *patternWalk) run(t fataler, r *rig, s *Stream) {
	k.position, k.got, k.losses = k.after, map[uint64]*Message{}, nil
	for k.step(t, r, s) {
	}
}

// step reads one page and reports whether there is more.
func (k *patternWalk) step(t fataler, r *rig, s *Stream) (more bool) {
	q := PageRequest{Channel: k.pattern, After: k.position, Until: k.until, Limit: k.limit, MaxBytes: k.bytes}
	p := r.page(s, q)
	prev, bytes := q.After, 0
	for i, m := range p.Messages {
		switch {
		case m.Seq <= prev || m.Seq > p.Through || k.until > 0 && m.Seq > k.until:
			t.Fatalf("%+v: %d after %d, through %d", q, m.Seq, prev, p.Through)
		case i > 0 && m.Prev != prev || m.Prev > prev:
			t.Fatalf("%+v: prev of %d is %d, not %d", q, m.Seq, m.Prev, prev)
		case !matches(k.pattern, m.Channel):
			t.Fatalf("%+v: %s does not match", q, m.Channel)
		}
		prev = m.Seq
		bytes += len(m.Body)
		k.got[m.Seq] = m
	}
	switch {
	case q.Limit > 0 && len(p.Messages) > q.Limit || q.MaxBytes > 0 && bytes > q.MaxBytes && len(p.Messages) > 1:
		t.Fatalf("%+v: %d messages of %d bytes", q, len(p.Messages), bytes)
	case p.Through < q.After || p.More && p.Through == q.After:
		t.Fatalf("%+v: the next page would not go on: %+v", q, p)
	case p.LostTo > 0 && (p.LostFrom <= q.After || p.LostFrom > p.LostTo || p.LostTo > p.Through):
		t.Fatalf("%+v: lost %d to %d, through %d", q, p.LostFrom, p.LostTo, p.Through)
	}
	if p.LostTo > 0 {
		k.losses = append(k.losses, [2]uint64{p.LostFrom, p.LostTo})
	}
	k.position = p.Through
	return p.More
}

func (k *patternWalk) lost(seq uint64) bool {
	for _, l := range k.losses {
		if l[0] <= seq && seq <= l[1] {
			return true
		}
	}
	return false
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern string
		ns      string
		yes, no string
	}{
		{"a.b", "a", "a.b", "a a.c a.b.c a.bb a."},
		{"a.*", "a", "a.b a.cc", "a b.b a.b.c"},
		{"a.>", "a", "a.b a.b.c", "a b.b aa.b"},
		{"a.*.c", "a", "a.b.c a.bb.c", "a.b a.b.cc a.b.c.d a.b.d"},
		{"a.*.*", "a", "a.b.c", "a.b a.b.c.d"},
		{"a.b.>", "a", "a.b.c a.b.c.d", "a.b a.bb.c"},
		{"a.*.>", "a", "a.b.c a.b.c.d", "a.b"},
	} {
		ns, err := spaceOf(c.pattern)
		if ns != c.ns || err != nil {
			t.Errorf("%s: %q, %v", c.pattern, ns, err)
		}
		for _, s := range strings.Fields(c.yes) {
			if !matches(c.pattern, s) || !matches(c.pattern, []byte(s)) {
				t.Errorf("%s does not match %s", c.pattern, s)
			}
		}
		for _, s := range strings.Fields(c.no) {
			if matches(c.pattern, s) {
				t.Errorf("%s matches %s", c.pattern, s)
			}
		}
	}
	for _, s := range []string{"", ">", "*", "*.a", ">.a", "a.>.b", "a.*b", "a.b*", "a.b>", "a.**", "a.>>", "a*.b", "a", "a..*", "a.*.", ".*", "jetwire.*", "a.$x.*", "a. .*", "a.*." + strings.Repeat("x", 200)} {
		if ns, err := spaceOf(s); !errors.Is(err, ErrBadChannel) {
			t.Errorf("%s: %q, %v", s, ns, err)
		}
	}
}

func TestPatternPageErrors(t *testing.T) {
	r := newRig(t, nil)
	r.store("chat.a", "x")
	s := r.stream("chat.*")
	r.atHead(s, 1)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, c := range []struct {
		q    PageRequest
		want error
	}{
		{PageRequest{Channel: "chat.*"}, nil},
		{PageRequest{Channel: "chat.*", Newest: true}, ErrBadChannel},
		{PageRequest{Channel: "chat.>", Since: 1}, ErrBadChannel},
		{PageRequest{Channel: "*.a"}, ErrBadChannel},
		{PageRequest{Channel: "other.>"}, ErrBadChannel},
		{PageRequest{Channel: "chat.*", After: 2}, ErrWrongEpoch},
		{PageRequest{Channel: "chat.*", After: 1}, nil},
	} {
		if _, err := s.Page(ctx, c.q); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c.q, err)
		}
	}
	if _, err := r.publish(Publication{Channel: "chat.*", QoS: 1}); !errors.Is(err, ErrBadChannel) {
		t.Errorf("published to a pattern: %v", err)
	}
	if _, err := r.publish(Publication{Channel: "chat.>"}); !errors.Is(err, ErrBadChannel) {
		t.Errorf("published to a pattern at QoS 0: %v", err)
	}
}

// TestAPatternSharesTheRing checks that pages leave the messages of the ring as they are.
func TestAPatternSharesTheRing(t *testing.T) {
	r := newRig(t, nil)
	for i := range 10 {
		r.store(fmt.Sprintf("chat.c%d", i%5), "x")
	}
	s := r.stream("chat.>")
	r.atHead(s, 10)
	if p := r.page(s, PageRequest{Channel: "chat.>", After: 3}); len(p.Messages) != 7 || p.Messages[0].Prev != 3 || p.Messages[6].Prev != 9 {
		t.Fatalf("%+v", p)
	}
	if r.log.Stats().DirectGets > 0 {
		t.Error("the ring was not used")
	}
	for _, m := range r.delivered() {
		want := uint64(0)
		if m.Seq > 5 {
			want = m.Seq - 5
		}
		if m.Prev != want {
			t.Errorf("prev of %d is %d now", m.Seq, m.Prev)
		}
	}
}

// TestPatternWalkWhileMessagesArrive walks positions of several patterns to the head again and again while others publish, and the index's
// budget moves its floor. Nothing is missed, nothing comes twice, and nothing is reported lost as nothing is.
func TestPatternWalkWhileMessagesArrive(t *testing.T) {
	for _, c := range []struct {
		name string
		opts func(*Options)
	}{
		{"ring", func(*Options) {}},
		{"index", func(o *Options) { o.RingBytes = 1 }},
		{"small ring", func(o *Options) { o.RingBytes = 100 << 10 }},
		{"small index", func(o *Options) { o.RingBytes, o.IndexBytes = 1, 1 }},
	} {
		t.Run(c.name, func(t *testing.T) { walkWhileMessagesArrive(t, c.opts) })
	}
}

func walkWhileMessagesArrive(t *testing.T, change func(*Options)) {
	const total, channels, publishers = 12_000, 60, 4
	r := newRig(t, change)
	s := r.stream("chat.x")
	var wg sync.WaitGroup
	slots := make(chan struct{}, 256)
	for p := range publishers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(p)))
			for range total / publishers {
				slots <- struct{}{}
				c := rnd.IntN(channels)
				r.log.Publish(Publication{Channel: fmt.Sprintf("chat.%d.c%d", c%3, c), QoS: 1, Body: []byte("x")}, func(_ Ack, err error) {
					<-slots
					if err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
	patterns := []string{"chat.>", "chat.*.c7", "chat.1.*", "chat.*.*"}
	walks := make([]*patternWalk, len(patterns))
	for i, pattern := range patterns {
		k := &patternWalk{pattern: pattern, limit: 50 + 400*(i%2), got: map[uint64]*Message{}}
		walks[i] = k
		wg.Go(func() {
			if i == 0 { // this one begins when the index has lost the beginning, where its budget is small
				eventually(t, "half of it", func() bool { return s.Head() > total*3/4 })
			}
			for k.position < total && !t.Failed() {
				k.step(t, r, s)
			}
		})
	}
	wg.Wait()
	for _, k := range walks {
		if len(k.losses) > 0 {
			t.Errorf("%s: lost %v", k.pattern, k.losses)
		}
		for _, m := range r.delivered() {
			if matches(k.pattern, m.Channel) != (k.got[m.Seq] != nil) {
				t.Fatalf("%s: %d on %s was read: %v", k.pattern, m.Seq, m.Channel, k.got[m.Seq] != nil)
			}
		}
	}
}

// TestPatternWalkWhileMessagesLeave is the same with a small limit per channel: what was not read is within what was reported lost.
func TestPatternWalkWhileMessagesLeave(t *testing.T) {
	const total, channels = 6000, 40
	for _, ring := range []int64{1, 50 << 10} {
		r := newRig(t, func(o *Options) {
			o.RingBytes = ring
			o.Policies = []Policy{{Namespace: "chat", MaxPerChannel: 20, Storage: Memory}}
		})
		s := r.stream("chat.x")
		var wg sync.WaitGroup
		wg.Go(func() {
			slots := make(chan struct{}, 64)
			rnd := rand.New(rand.NewPCG(3, 4))
			for range total {
				slots <- struct{}{}
				r.log.Publish(Publication{Channel: fmt.Sprintf("chat.c%d", rnd.IntN(channels)), QoS: 1, Body: []byte("x")}, func(_ Ack, err error) {
					<-slots
					if err != nil {
						t.Error(err)
					}
				})
			}
		})
		walks := []*patternWalk{{pattern: "chat.>", limit: 7}, {pattern: "chat.c3", limit: 3}, {pattern: "chat.*", limit: 100}}
		for _, k := range walks {
			k.got = map[uint64]*Message{}
			wg.Go(func() {
				for k.position < total && !t.Failed() {
					k.step(t, r, s)
				}
			})
		}
		wg.Wait()
		for _, k := range walks {
			for _, m := range r.delivered() {
				if matches(k.pattern, m.Channel) && k.got[m.Seq] == nil && !k.lost(m.Seq) {
					t.Fatalf("%s: %d on %s was neither read nor lost", k.pattern, m.Seq, m.Channel)
				}
			}
		}
	}
}

// TestPatternAfterTheStreamWasMadeAnew checks that plans of the old stream are not used for the new one.
func TestPatternAfterTheStreamWasMadeAnew(t *testing.T) {
	r := newRig(t, func(o *Options) { o.RingBytes = 1 })
	s := r.stream("chat.x")
	fill := func(prefix string) {
		var last uint64
		for i := range 20 {
			last = r.store(fmt.Sprintf("chat.%s%d", prefix, i%4), prefix).Seq
		}
		r.atHead(s, last)
	}
	fill("old")
	if p := r.page(s, PageRequest{Channel: "chat.*", Limit: 5}); len(p.Messages) != 5 || !p.More {
		t.Fatalf("%+v", p)
	}
	epoch := s.Epoch()
	if err := r.js().DeleteStream(t.Context(), s.name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another epoch", func() bool { return s.Epoch() != epoch })
	fill("new")
	p := r.page(s, PageRequest{Channel: "chat.*", Limit: 30})
	if len(p.Messages) != 20 || p.LostTo != 0 || p.Messages[0].Channel != "chat.new0" {
		t.Fatalf("%+v", p)
	}
}

// TestPatternLossInPlainCases checks that no more is reported lost than was.
func TestPatternLossInPlainCases(t *testing.T) {
	srv := natstest.Run(t)
	opts := func(o *Options) {
		o.RingBytes = 1
		o.Policies = []Policy{{Namespace: "chat", MaxMessages: 50}, {Namespace: "keep", MaxPerChannel: 100}}
	}
	r := rigOn(t, srv, opts)
	for i := range 80 {
		r.store(fmt.Sprintf("chat.c%d", i%8), "x")
		r.store(fmt.Sprintf("keep.c%d", i%8), "x")
	}
	check := func(r *rig, what string) {
		t.Helper()
		s := r.stream("chat.x")
		eventually(t, "the front", func() bool { return s.gen.Load().first.Load() == 31 })
		for _, c := range []struct{ after, from, to uint64 }{{0, 1, 30}, {20, 21, 30}, {30, 0, 0}, {60, 0, 0}} {
			if p := r.page(s, PageRequest{Channel: "chat.>", After: c.after}); p.LostFrom != c.from || p.LostTo != c.to || len(p.Messages) != int(min(50, 80-c.after)) {
				t.Errorf("%s: after %d: %d messages, lost %d to %d", what, c.after, len(p.Messages), p.LostFrom, p.LostTo)
			}
		}
		if p := r.page(r.stream("keep.x"), PageRequest{Channel: "keep.*"}); len(p.Messages) != 80 || p.LostTo != 0 {
			t.Errorf("%s: %d messages, lost %d to %d", what, len(p.Messages), p.LostFrom, p.LostTo)
		}
	}
	check(r, "live")
	if err := r.log.Close(); err != nil {
		t.Fatal(err)
	}
	check(rigOn(t, srv, opts), "restarted")
}

// TestPatternTellsOfWhatWasDeletedBefore checks that a message which was deleted before this Log began is lost where nothing limits channels.
func TestPatternTellsOfWhatWasDeletedBefore(t *testing.T) {
	srv := natstest.Run(t)
	r := rigOn(t, srv, nil)
	for range 10 {
		r.store("chat.a", "x")
	}
	st, err := r.js().Stream(t.Context(), r.stream("chat.x").name)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.DeleteMsg(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	if err := r.log.Close(); err != nil {
		t.Fatal(err)
	}
	r = rigOn(t, srv, nil)
	if p := r.page(r.stream("chat.x"), PageRequest{Channel: "chat.*"}); len(p.Messages) != 9 || p.LostFrom > 4 || p.LostTo < 4 {
		t.Errorf("%d messages, lost %d to %d", len(p.Messages), p.LostFrom, p.LostTo)
	}
}

// TestPatternTellsOfHoles checks that what the tail was not shown is lost for a pattern, wherever it may have been.
func TestPatternTellsOfHoles(t *testing.T) {
	r := newRig(t, func(o *Options) { o.RingBytes = 1 })
	for range 10 {
		r.store("chat.a", "x")
	}
	s := r.stream("chat.x")
	r.atHead(s, 10)
	raise(&s.gen.Load().hole, 5)
	for _, c := range []struct{ after, from, to uint64 }{{2, 3, 5}, {4, 5, 5}, {5, 0, 0}} {
		if p := r.page(s, PageRequest{Channel: "chat.*", After: c.after}); p.LostFrom != c.from || p.LostTo != c.to {
			t.Errorf("after %d: lost %d to %d", c.after, p.LostFrom, p.LostTo)
		}
	}
	if p := r.page(s, PageRequest{Channel: "chat.*", Limit: 2}); p.LostFrom != 1 || p.LostTo != 2 {
		t.Errorf("the first page: lost %d to %d", p.LostFrom, p.LostTo)
	}
}

// BenchmarkPatternCatchUp reads everything that matches from the beginning on, over 100,000 channels of 10 messages, none of them in the ring.
func BenchmarkPatternCatchUp(b *testing.B) {
	const channels, per = 100_000, 10
	r := newRig(b, func(o *Options) { o.RingBytes, o.Deliver = 1, func([]*Message) {} })
	slots, body := make(chan struct{}, 4000), make([]byte, 200)
	for i := range channels * per {
		slots <- struct{}{}
		r.log.Publish(Publication{Channel: fmt.Sprintf("chat.%d.room%d", i%10_000, i%channels), QoS: 1, Body: body}, func(_ Ack, err error) {
			if err != nil {
				b.Error(err)
			}
			<-slots
		})
	}
	s := r.stream("chat.x")
	r.atHead(s, channels*per)
	for _, c := range []struct {
		pattern string
		want    int
		runs    bool
	}{{"chat.>", channels * per, false}, {"chat.>", channels * per, true}, {"chat.77.*", 10 * per, true}, {"chat.*.room77", per, true}} {
		b.Run(fmt.Sprintf("%s,runs=%v", c.pattern, c.runs), func(b *testing.B) {
			used, was := cpu(), r.log.Stats()
			for b.Loop() {
				g := s.gen.Load()
				g.plans.mu.Lock()
				g.plans.list = nil
				g.plans.mu.Unlock()
				g.runs.clear()
				g.runs.mu.Lock()
				g.runs.off = time.Time{}
				if !c.runs {
					g.runs.off = time.Now().Add(time.Hour)
				}
				g.runs.mu.Unlock()
				got, position := 0, uint64(0)
				for more := true; more; {
					p := r.page(s, PageRequest{Channel: c.pattern, After: position, Limit: 256})
					got += len(p.Messages)
					position, more = p.Through, p.More
				}
				if got != c.want {
					b.Fatal(got)
				}
			}
			total := float64(b.N * c.want)
			st := r.log.Stats()
			b.ReportMetric(total/b.Elapsed().Seconds(), "msgs/s")
			b.ReportMetric(float64((cpu()-used).Microseconds())/total, "cpu-µs/msg")
			b.ReportMetric(float64(st.DirectGets-was.DirectGets)/float64(b.N), "gets")
			b.ReportMetric(float64(st.RunReads-was.RunReads)/float64(b.N), "run-reads")
		})
	}
}
