package streams

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/jetwire/jetwire/streams/natstest"
)

// Every run tries the same programs, so that none fails by chance; -rapid.seed=0 tries others.
func init() { _ = flag.Set("rapid.seed", "1") }

// model is a plain picture of one stream.
type model struct {
	all   []modelled // index is sequence-1
	limit int        // per channel, 0: none
	total int        // of the stream, 0: none
}

type modelled struct {
	channel string
	body    string
	time    int64
	gone    bool
}

func (m *model) add(channel, body string) (seq uint64) {
	m.all = append(m.all, modelled{channel: channel, body: body})
	if m.limit > 0 {
		m.keep(func(x *modelled) bool { return x.channel == channel }, m.limit)
	}
	if m.total > 0 {
		m.keep(func(*modelled) bool { return true }, m.total)
	}
	return uint64(len(m.all))
}

// keep deletes all but the last n that match.
func (m *model) keep(match func(*modelled) bool, n int) {
	for i := len(m.all) - 1; i >= 0; i-- {
		if x := &m.all[i]; !x.gone && match(x) {
			if n--; n < 0 {
				x.gone = true
			}
		}
	}
}

func (m *model) first() uint64 {
	for i := range m.all {
		if !m.all[i].gone {
			return uint64(i + 1)
		}
	}
	return uint64(len(m.all)) + 1
}

// between returns the sequences of the channel in (after, until] that are there, ascending, and the highest that is gone.
func (m *model) between(channel string, after, until uint64, since int64) (there []uint64, gone uint64) {
	for i := range m.all {
		seq := uint64(i + 1)
		if x := &m.all[i]; x.channel == channel && seq > after && seq <= until && x.time >= since {
			if x.gone {
				gone = seq
			} else {
				there = append(there, seq)
			}
		}
	}
	return there, gone
}

// world is one run of the property test: a stream, its model, and a Log that looks at it.
type world struct {
	*rapid.T
	r      *rig
	js     jetstream.JetStream
	ns     string
	stream *Stream
	model  *model
	blind  bool // the Log has not seen all from the beginning
	vague  bool // and something was deleted that nothing but having seen it tells of
	intact bool // nothing was ever deleted
	ctx    context.Context
}

var channels = []string{"a", "b", "c.d"}

func (w *world) channel(t *rapid.T) string {
	return w.ns + "." + rapid.SampledFrom(channels).Draw(t, "channel")
}

func (w *world) publish(t *rapid.T) {
	for range rapid.IntRange(1, 12).Draw(t, "count") {
		channel := w.channel(t)
		body := fmt.Sprintf("%0*d", 1+len(w.model.all)%30, len(w.model.all))
		a := w.r.store(channel, body)
		if seq := w.model.add(channel, body); a.Seq != seq {
			w.Fatalf("stored at %d, the model says %d", a.Seq, seq)
		}
	}
	w.settle()
}

// settle waits until the Log has seen what was done: it learns of deletions by advisories and polling.
func (w *world) settle() {
	end := uint64(len(w.model.all))
	eventually(w.r.t, "the head", func() bool { return w.stream.Head() >= end })
	st, err := w.js.Stream(w.ctx, w.stream.name)
	if err != nil {
		w.Fatal(err)
	}
	if first := w.model.first(); st.CachedInfo().State.FirstSeq != first && len(w.model.all) > 0 && first <= end {
		w.Fatalf("the log begins at %d, the model at %d", st.CachedInfo().State.FirstSeq, first)
	}
	g := w.stream.gen.Load()
	eventually(w.r.t, "what is gone to leave the ring", func() bool {
		for i := range w.model.all {
			x, seq := &w.model.all[i], uint64(i+1)
			if !x.gone {
				continue
			}
			w.intact = false
			if g.ring.get(seq) != nil && len(g.index.After(nil, x.channel, seq-1, seq, 1)) > 0 {
				w.stream.suspect(nil)
				return false
			}
		}
		return true
	})
	// Times are the log's; the tail brought them.
	for _, m := range w.r.delivered() {
		if ns, _ := namespaceOf(m.Channel); ns == w.ns {
			w.model.all[m.Seq-1].time = m.Time
		}
	}
}

func (w *world) remove(t *rapid.T) {
	if len(w.model.all) == 0 {
		t.Skip()
	}
	seq := rapid.Uint64Range(1, uint64(len(w.model.all))).Draw(t, "seq")
	st, err := w.js.Stream(w.ctx, w.stream.name)
	if err != nil {
		w.Fatal(err)
	}
	if err := st.DeleteMsg(w.ctx, seq); err != nil && !w.model.all[seq-1].gone {
		w.Fatal(err)
	}
	w.model.all[seq-1].gone = true
	w.vague = w.vague || w.blind
	w.settle()
}

func (w *world) purge(t *rapid.T) {
	if len(w.model.all) == 0 {
		t.Skip()
	}
	st, err := w.js.Stream(w.ctx, w.stream.name)
	if err != nil {
		w.Fatal(err)
	}
	var opts []jetstream.StreamPurgeOpt
	match := func(*modelled) bool { return true }
	if rapid.Bool().Draw(t, "one channel") {
		channel := w.channel(t)
		match = func(x *modelled) bool { return x.channel == channel }
		w.vague = w.vague || w.blind
		opts = append(opts, jetstream.WithPurgeSubject(channel))
	}
	if rapid.Bool().Draw(t, "keep some") {
		keep := rapid.IntRange(1, 10).Draw(t, "keep")
		opts = append(opts, jetstream.WithPurgeKeep(uint64(keep)))
		w.model.keep(match, keep)
	} else {
		seq := rapid.Uint64Range(1, uint64(len(w.model.all))).Draw(t, "up to")
		opts = append(opts, jetstream.WithPurgeSequence(seq))
		for i := range w.model.all[:seq-1] {
			if match(&w.model.all[i]) {
				w.model.all[i].gone = true
			}
		}
	}
	if err := st.Purge(w.ctx, opts...); err != nil {
		w.Fatal(err)
	}
	w.settle()
}

// read asks for a part of a channel, page by page, and compares it with the model.
func (w *world) read(t *rapid.T) {
	end := uint64(len(w.model.all))
	q := PageRequest{
		Channel:  w.channel(t),
		After:    rapid.Uint64Range(0, end).Draw(t, "after"),
		Until:    rapid.Uint64Range(0, end+3).Draw(t, "until"),
		Limit:    rapid.IntRange(1, 20).Draw(t, "limit"),
		MaxBytes: rapid.SampledFrom([]int{0, 0, 1, 60}).Draw(t, "bytes"),
		Newest:   rapid.Bool().Draw(t, "newest"),
	}
	if end > 0 && rapid.IntRange(0, 3).Draw(t, "by time") == 0 {
		q.Since = w.model.all[rapid.IntRange(0, int(end)-1).Draw(t, "since")].time
	}
	until := q.Until
	if until == 0 || until > end {
		until = end
	}
	want, gone := w.model.between(q.Channel, q.After, until, q.Since)
	if q.Newest {
		slices.Reverse(want)
	}
	asked, deadline := q, time.Now().Add(patience/4)
	var got []uint64
	var lostFrom, lostTo uint64
again:
	for p, more := (Page{}), true; more; more = p.More {
		p = w.r.page(w.stream, q)
		w.check(q, p)
		got = append(got, seqs(p.Messages)...)
		if p.LostTo > 0 {
			if lostTo == 0 || p.LostFrom < lostFrom {
				lostFrom = p.LostFrom
			}
			lostTo = max(lostTo, p.LostTo)
		}
		if q.Newest {
			q.Until = p.Through - 1
		} else {
			q.After = p.Through
		}
	}
	if !slices.Equal(got, want) {
		w.Fatalf("%+v: got %v, the model says %v", asked, got, want)
	}
	if gone > 0 && lostTo < gone && !w.vague {
		if time.Now().Before(deadline) { // the server tells of deletions by and by
			time.Sleep(20 * time.Millisecond)
			q, got, lostFrom, lostTo = asked, nil, 0, 0
			goto again
		}
		w.Fatalf("%+v: %d is gone, and only %d to %d was reported", asked, gone, lostFrom, lostTo)
	}
	if lostTo > 0 && w.intact {
		w.Fatalf("%+v: reported %d to %d lost, and nothing was ever deleted", asked, lostFrom, lostTo)
	}
}

// readPattern walks a pattern's past and compares it with the model.
func (w *world) readPattern(t *rapid.T) {
	end := uint64(len(w.model.all))
	k := patternWalk{
		pattern: w.ns + "." + rapid.SampledFrom([]string{">", "*", "*.d", "c.*", "*.*", "none.>"}).Draw(t, "pattern"),
		after:   rapid.Uint64Range(0, end).Draw(t, "after"),
		until:   rapid.Uint64Range(0, end+3).Draw(t, "until"),
		limit:   rapid.IntRange(1, 20).Draw(t, "limit"),
		bytes:   rapid.SampledFrom([]int{0, 0, 1, 60}).Draw(t, "bytes"),
	}
	until := k.until
	if until == 0 || until > end {
		until = end
	}
	k.run(w, w.r, w.stream)
	for i := range w.model.all {
		x, seq := &w.model.all[i], uint64(i+1)
		if seq <= k.after || seq > until || !matches(k.pattern, x.channel) {
			continue
		}
		m, lost := k.got[seq], k.lost(seq)
		switch {
		case m == nil && x.gone && !lost && (!w.vague || w.model.limit == 0):
			w.Fatalf("%+v: %d is gone and not reported", k, seq)
		case m == nil && !x.gone && (!lost || w.model.limit == 0 || w.intact):
			w.Fatalf("%+v: %d is there and was not read", k, seq)
		case m != nil && (m.Channel != x.channel || string(m.Body) != x.body || m.Time != x.time):
			w.Fatalf("%+v: %+v is not what was stored", k, m)
		}
	}
	if len(k.losses) > 0 && w.intact {
		w.Fatalf("%+v: reported %v lost, and nothing was ever deleted", k, k.losses)
	}
}

// check checks what every single page promises.
func (w *world) check(q PageRequest, p Page) {
	bytes := 0
	for i, m := range p.Messages {
		x := w.model.all[m.Seq-1]
		if m.Channel != x.channel || string(m.Body) != x.body || m.From != "alice" || m.Time != x.time {
			w.Fatalf("%+v: %+v is not what was stored", q, m)
		}
		bytes += len(m.Body)
		if m.Prev >= m.Seq {
			w.Fatalf("%+v: prev %d of %d", q, m.Prev, m.Seq)
		}
		if older, _ := w.model.between(m.Channel, m.Prev, m.Seq-1, 0); len(older) > 0 {
			w.Fatalf("%+v: prev of %d is %d, and %v lie between", q, m.Seq, m.Prev, older)
		}
		switch {
		case q.Newest && i > 0 && p.Messages[i-1].Prev != m.Seq,
			!q.Newest && i > 0 && m.Prev > p.Messages[i-1].Seq,
			!q.Newest && i == 0 && q.Since == 0 && m.Prev > q.After:
			w.Fatalf("%+v: prev is not exact in %v", q, seqs(p.Messages))
		}
	}
	if len(p.Messages) > q.Limit || q.MaxBytes > 0 && bytes > q.MaxBytes && len(p.Messages) > 1 {
		w.Fatalf("%+v: %d messages of %d bytes", q, len(p.Messages), bytes)
	}
	if p.More && (q.Newest && p.Through <= q.After+1 || !q.Newest && p.Through <= q.After) {
		w.Fatalf("%+v: the next page would not go on: %+v", q, p)
	}
}

// TestPagesAgainstModel publishes, deletes, purges and reads at random, with and without the ring, limits and the index.
func TestPagesAgainstModel(t *testing.T) {
	srv := natstest.Run(t)
	js, err := jetstream.New(srv.Conn())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience)
	defer cancel()
	runs := 0
	for _, c := range []struct {
		name    string
		restart bool
		hold    bool
		opts    func(*Options)
	}{
		{"plain", false, false, func(*Options) {}},
		{"no ring", false, false, func(o *Options) { o.RingBytes = 1 }},
		{"restarted", true, false, func(*Options) {}},
		{"no index below the start", true, true, func(o *Options) { o.RingBytes = 1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				runs++
				w := &world{T: rt, js: js, ns: fmt.Sprintf("n%d", runs), model: &model{}, intact: true, ctx: ctx}
				policy := Policy{Namespace: w.ns, Storage: Memory}
				switch rapid.IntRange(0, 3).Draw(rt, "limits") {
				case 0:
					w.model.limit = rapid.IntRange(1, 8).Draw(rt, "per channel")
					policy.MaxPerChannel = int64(w.model.limit)
				case 1:
					w.model.total = rapid.IntRange(1, 30).Draw(rt, "in all")
					policy.MaxMessages = int64(w.model.total)
				}
				hold := make(chan struct{})
				defer func() { _ = js.DeleteStream(ctx, streamPrefix+w.ns) }()
				open := func() {
					w.r = &rig{t: t, srv: srv}
					o := w.r.options(func(o *Options) {
						o.Policies = []Policy{policy}
						o.Default = nil
						c.opts(o)
						if c.hold {
							o.holdRebuild = hold
						}
					})
					var err error
					if w.r.log, err = Open(ctx, o); err != nil {
						rt.Fatal(err)
					}
					w.stream = w.r.stream(w.ns + ".x")
				}
				open()
				defer func() { _ = w.r.log.Close() }()
				if c.restart {
					for range rapid.IntRange(1, 5).Draw(rt, "before") {
						w.publish(rt)
						if rapid.IntRange(0, 4).Draw(rt, "and remove") == 0 {
							w.remove(rt)
							w.vague = true
						}
					}
					if err := w.r.log.Close(); err != nil {
						rt.Fatal(err)
					}
					w.blind = true
					open()
				}
				actions := map[string]func(*rapid.T){"publish": w.publish, "remove": w.remove, "purge": w.purge, "read": w.read, "pattern": w.readPattern, "": func(*rapid.T) {}}
				for range 3 {
					actions["read"](rt)
				}
				rt.Repeat(actions)
			})
		})
	}
}

func TestPageErrors(t *testing.T) {
	r := newRig(t, nil)
	r.store("chat.a", "x")
	s := r.stream("chat.a")
	r.atHead(s, 1)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, c := range []struct {
		q    PageRequest
		want error
	}{
		{PageRequest{Channel: "chat"}, ErrBadChannel},
		{PageRequest{Channel: "other.a"}, ErrBadChannel},
		{PageRequest{Channel: "chat.a", After: 2}, ErrWrongEpoch},
		{PageRequest{Channel: "chat.a", After: 1}, nil},
	} {
		if _, err := s.Page(ctx, c.q); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c.q, err)
		}
	}
	// Without NATS, what is recent can still be read; the rest is an error at once.
	r.srv.Shutdown()
	eventually(t, "disconnection", func() bool { return !r.log.Connected() })
	if p := r.page(s, PageRequest{Channel: "chat.a"}); len(p.Messages) != 1 {
		t.Errorf("%+v", p)
	}
	s.gen.Load().ring.clear()
	start := time.Now()
	if _, err := s.Page(ctx, PageRequest{Channel: "chat.a"}); !errors.Is(err, ErrUnavailable) || time.Since(start) > time.Second {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
}
