package streams

import (
	"fmt"
	"testing"
	"time"
)

// fillDense stores messages on n channels in turn.
func fillDense(t testing.TB, r *rig, channels, count, size int) *Stream {
	t.Helper()
	slots := make(chan struct{}, 256)
	for i := range count {
		slots <- struct{}{}
		r.log.Publish(Publication{Channel: fmt.Sprintf("chat.c%d", i%channels), QoS: 1, From: "alice", Body: make([]byte, size)}, func(_ Ack, err error) {
			<-slots
			if err != nil {
				t.Error(err)
			}
		})
	}
	s := r.stream("chat.x")
	r.atHead(s, uint64(count))
	return s
}

// walk reads a channel or a pattern to its end and returns how many pages that took.
func walk(t testing.TB, r *rig, s *Stream, channel string, limit int) (got []*Message, lost [][2]uint64) {
	t.Helper()
	for q, more := (PageRequest{Channel: channel, Limit: limit}), true; more; {
		p := r.page(s, q)
		got = append(got, p.Messages...)
		if p.LostTo > 0 {
			lost = append(lost, [2]uint64{p.LostFrom, p.LostTo})
		}
		q.After, more = p.Through, p.More
	}
	return got, lost
}

// TestRuns checks that a cursor which wants most of the log gets it by runs, and the same as it gets one by one.
func TestRuns(t *testing.T) {
	for _, c := range []struct {
		name, channel string
		channels      int
		size          int
		runs          bool
	}{
		{"one channel", "chat.c0", 1, 1, true},
		{"a pattern", "chat.*", 100, 1, true},
		{"half of it", "chat.c1", 2, 1, true},
		{"a third of it", "chat.c1", 3, 1, false},
		{"large messages", "chat.>", 3, 20 << 10, true}, // which end runs early
	} {
		t.Run(c.name, func(t *testing.T) {
			const count = 3000
			r := newRig(t, func(o *Options) { o.RingBytes = 1 })
			s := fillDense(t, r, c.channels, count, c.size)
			st, err := r.js().Stream(t.Context(), s.name)
			if err != nil {
				t.Fatal(err)
			}
			gone := map[uint64]bool{}
			for seq := uint64(500); seq < count; seq += 700 {
				gone[seq] = true
				if err := st.DeleteMsg(t.Context(), seq); err != nil {
					t.Fatal(err)
				}
			}
			got, lost := walk(t, r, s, c.channel, 200)
			i := 0
			for _, m := range r.delivered() {
				if gone[m.Seq] || !matches(c.channel, m.Channel) {
					continue
				}
				if i == len(got) || got[i].Seq != m.Seq {
					t.Fatalf("%d is missing among %d", m.Seq, len(got))
				}
				if g := got[i]; g.Channel != m.Channel || g.From != m.From || g.Time != m.Time || len(g.Body) != len(m.Body) || g.Prev >= m.Seq {
					t.Fatalf("read %+v, delivered %+v", g, m)
				}
				i++
			}
			if i != len(got) {
				t.Fatalf("%d read, %d wanted", len(got), i)
			}
			for seq := range gone {
				m := r.delivered()[seq-1]
				told := false
				for _, l := range lost {
					told = told || l[0] <= seq && seq <= l[1]
				}
				if matches(c.channel, m.Channel) && !told {
					t.Errorf("%d is gone and not reported in %v", seq, lost)
				}
			}
			x := &s.gen.Load().runs
			x.mu.Lock()
			for _, run := range x.list {
				bytes := int64(0)
				for _, m := range run.messages {
					bytes += cost(m)
				}
				if bytes > runBytes+int64(c.size)+2*messageOverhead {
					t.Errorf("a run of %d bytes", bytes)
				}
			}
			x.mu.Unlock()
			if n := r.log.Stats().RunReads; (n > 0) != c.runs {
				t.Errorf("%d messages were read in runs", n)
			}
			if c.runs && r.log.Stats().DirectGets > count/4 {
				t.Errorf("%d messages were read one by one", r.log.Stats().DirectGets)
			}
		})
	}
}

// BenchmarkDense lets one cursor read all of a channel that has every message of the stream, or every second one, none of them in the ring.
func BenchmarkDense(b *testing.B) {
	const count = 200_000
	for _, channels := range []int{1, runDensity} {
		r := newRig(b, func(o *Options) { o.RingBytes, o.Deliver = 1, func([]*Message) {} })
		s := fillDense(b, r, channels, count, 200)
		for _, use := range []bool{false, true} {
			b.Run(fmt.Sprintf("1/%d,runs=%v", channels, use), func(b *testing.B) {
				used := cpu()
				for b.Loop() {
					x := &s.gen.Load().runs
					x.clear()
					x.mu.Lock()
					x.off = time.Time{}
					if !use {
						x.off = time.Now().Add(time.Hour)
					}
					x.mu.Unlock()
					if got, _ := walk(b, r, s, "chat.c0", 200); len(got) != count/channels {
						b.Fatal(len(got))
					}
				}
				total := float64(b.N * count / channels)
				b.ReportMetric(total/b.Elapsed().Seconds(), "msgs/s")
				b.ReportMetric(float64((cpu()-used).Microseconds())/total, "cpu-µs/msg")
			})
		}
	}
}

// TestRunsAreBounded checks that runs are dropped by count and by age, and that one which was hardly used keeps others away for a while.
func TestRunsAreBounded(t *testing.T) {
	var x runs
	for i := range uint64(3 * maxRuns) {
		r := x.begin(100*i, 100*i+99)
		x.end(r, []*Message{{Seq: 100 * i}, {Seq: 100*i + 99}}, 0)
	}
	if len(x.list) != maxRuns || x.off.IsZero() {
		t.Fatalf("%d runs, off %v", len(x.list), x.off)
	}
	if x.ended("chat.a", 7); x.due("chat.a", 7) {
		t.Error("due, though runs were of no use")
	}
	x.off = time.Time{}
	if !x.due("chat.a", 7) || x.due("chat.a", 8) || x.due("chat.b", 7) {
		t.Error("not due where a page continues")
	}
	for i := range 2 * maxEnds {
		x.ended(fmt.Sprint(i), 1)
	}
	if len(x.ends) > maxEnds {
		t.Errorf("%d ends", len(x.ends))
	}
	for _, r := range x.list {
		r.made = r.made.Add(-2 * runAge)
	}
	if x.expire(); len(x.list) != 0 {
		t.Errorf("%d old runs", len(x.list))
	}
}

// TestRunsWhenTooManyAreRead checks that pages then read one by one.
func TestRunsWhenTooManyAreRead(t *testing.T) {
	r := newRig(t, func(o *Options) { o.RingBytes = 1 })
	s := fillDense(t, r, 10, 2000, 1)
	for range runReaders {
		r.log.rd.scanning <- struct{}{}
	}
	if got, lost := walk(t, r, s, "chat.>", 200); len(got) != 2000 || len(lost) > 0 || r.log.Stats().RunReads > 0 {
		t.Fatalf("%d messages, lost %v, %d by runs", len(got), lost, r.log.Stats().RunReads)
	}
}

// TestRunsForgetWhatIsDeleted checks that a message which a run holds is not given out once it is deleted.
func TestRunsForgetWhatIsDeleted(t *testing.T) {
	r := newRig(t, func(o *Options) { o.RingBytes = 1 })
	s := fillDense(t, r, 10, 2000, 1)
	var after uint64
	for range 3 {
		after = r.page(s, PageRequest{Channel: "chat.>", After: after, Limit: 200}).Through
	}
	g := s.gen.Load()
	have := make([]*Message, 1)
	if g.runs.fill(have, []uint64{700}) != 1 {
		t.Fatal("no run was read")
	}
	g.runs.mu.Lock()
	for _, run := range g.runs.list {
		run.made = run.made.Add(time.Hour) // it shall not go by its age
	}
	g.runs.mu.Unlock()
	st, err := r.js().Stream(t.Context(), s.name)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.DeleteMsg(t.Context(), 700); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deletion to be known", func() bool { return g.runs.fill(make([]*Message, 1), []uint64{700}) == 0 })
	if p := r.page(s, PageRequest{Channel: "chat.>", After: after, Limit: 200}); len(p.Messages) != 200 || p.LostFrom != 700 || p.LostTo != 700 {
		t.Fatalf("%d messages, lost %d to %d", len(p.Messages), p.LostFrom, p.LostTo)
	}
}
