package oracle

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

func delivery(channel string, seq, prev uint64, id string) Delivery {
	return Delivery{Seq: seq, Prev: prev, From: "p", ID: id, Body: AppendBody(nil, channel, "p", id, 0, JSON)}
}

// publish tells of n messages that were acknowledged at 1 to n.
func publish(o *Oracle, channel string, from, n int) {
	for i := from; i < from+n; i++ {
		o.Publishing(channel, "p", fmt.Sprint(i)).Acknowledged(Ack{Seq: uint64(i), Epoch: "e"})
	}
}

func deliver(r *Reader, channel string, from, n int) {
	for i := from; i < from+n; i++ {
		r.Message(delivery(channel, uint64(i), uint64(i-1), fmt.Sprint(i)))
	}
}

func TestNeverReached(t *testing.T) {
	o := New(Options{})
	r := o.Subscriber("r", "a.b", 0)
	publish(o, "a.b", 1, 3)
	deliver(r, "a.b", 1, 1)
	if b := o.Behind(); len(b) != 1 || b[0] != (Lag{"r", "a.b", 1, 3}) {
		t.Error(b)
	}
	v := o.Judge()
	if v.Lost != 2 || v.Counts.Violations() != 2 || v.Violations[0].Seq != 2 || v.Violations[1].Seq != 3 {
		t.Error(v)
	}
	if s := v.Violations[0].String(); s != "lost: a.b seq 2, id 2 of p, reader r: the reader never got that far: it is at 1" {
		t.Error(s)
	}
	deliver(r, "a.b", 2, 2)
	if v := o.Judge(); !v.OK() || len(o.Behind()) != 0 {
		t.Error(v)
	}
}

// A gap excuses what it names, if the log may drop messages, and nothing else.
func TestGaps(t *testing.T) {
	for _, test := range []struct {
		retention bool
		lost      uint64
	}{{true, 1}, {false, 4}} {
		o := New(Options{Retention: test.retention})
		r := o.Subscriber("r", "a.b", 0)
		publish(o, "a.b", 1, 5)
		r.Gap(2, 4, "e") // 1 is not in it
		deliver(r, "a.b", 5, 1)
		o.Publishing("a.b", "p", "late").Unknown()
		v := o.Judge()
		if v.Lost != test.lost || v.Counts.Violations() != test.lost || v.Gaps != 1 || test.retention && v.Excused != 3 {
			t.Errorf("retention %v: %+v", test.retention, v)
		}
	}
}

func TestAnotherEpoch(t *testing.T) {
	o := New(Options{})
	r := o.Subscriber("r", "a.b", 0)
	publish(o, "a.b", 1, 1)
	deliver(r, "a.b", 1, 1)
	r.Gap(0, 0, "f")
	r.Gap(0, 0, "f")
	if v := o.Judge(); v.Misplaced != 1 || v.Counts.Violations() != 1 || !strings.Contains(v.Violations[0].What, "made anew") {
		t.Error(v)
	}
}

// A message that one reader got is in the log, even if its publisher does not know.
func TestUnknownOutcome(t *testing.T) {
	o := New(Options{})
	a, b := o.Subscriber("a", "a.b", 0), o.Subscriber("b", "a.b", 0)
	o.Publishing("a.b", "p", "1").Unknown()
	o.Publishing("a.b", "p", "2").Unknown()
	o.Publishing("a.b", "p", "3").Acknowledged(Ack{Seq: 3, Epoch: "e"})
	b.Message(delivery("a.b", 3, 2, "3"))
	a.Message(delivery("a.b", 2, 0, "2"))
	a.Message(delivery("a.b", 3, 2, "3"))
	if v := o.Judge(); v.Lost != 1 || v.Counts.Violations() != 1 || v.Violations[0].Reader != "b" || v.Violations[0].ID != "2" || v.Unknown != 2 {
		t.Errorf("%+v", v)
	}
}

// What a publisher sends when a sequence is known comes behind it.
func TestStoredBeforeWhatWasKnown(t *testing.T) {
	o := New(Options{})
	r := o.Subscriber("r", "a.b", 0)
	publish(o, "a.b", 5, 1)
	o.Publishing("a.b", "p", "x").Acknowledged(Ack{Seq: 3, Epoch: "e"})
	r.Message(delivery("a.b", 3, 0, "x"))
	r.Message(delivery("a.b", 5, 3, "5"))
	if v := o.Judge(); v.Reordered != 1 || v.Counts.Violations() != 1 || v.Violations[0].ID != "x" {
		t.Errorf("%+v", v)
	}
}

// An answer whose sequence nobody confirms: the message is where the readers got it.
func TestAnswerWithAFreeSequence(t *testing.T) {
	o := New(Options{})
	r := o.Subscriber("r", "a.b", 0)
	o.Publishing("a.b", "p", "1").Acknowledged(Ack{Seq: 2, Epoch: "e"})
	o.Publishing("a.b", "p", "2").Acknowledged(Ack{Seq: 3, Epoch: "e"})
	r.Message(delivery("a.b", 1, 0, "1"))
	r.Message(delivery("a.b", 3, 1, "2"))
	if v := o.Judge(); v.Misanswered != 1 || v.Counts.Violations() != 1 || v.Violations[0].ID != "1" {
		t.Errorf("%+v", v)
	}
}

func TestWalksStayWithinTheirBounds(t *testing.T) {
	o := New(Options{})
	publish(o, "a.b", 1, 10)
	for _, back := range []bool{false, true} {
		w := o.Walk("w", "a.b", 3, 7, back)
		for i := range 4 {
			n := 4 + i
			if back {
				n = 7 - i
			}
			deliver(w, "a.b", n, 1)
		}
		w.End()
	}
	if v := o.Judge(); !v.OK() {
		t.Errorf("%+v", v)
	}
	w := o.Walk("w", "a.b", 3, 7, true)
	deliver(w, "a.b", 8, 1)
	deliver(w, "a.b", 7, 1)
	w.End()
	if v := o.Judge(); v.Misplaced != 1 || v.Lost != 3 || v.Counts.Violations() != 4 {
		t.Errorf("%+v", v)
	}
}

// A long run: what every reader has passed is forgotten, a reader that is away keeps what it needs, and order is still judged.
func TestMemoryIsBounded(t *testing.T) {
	const remember, n = 5000, 60_000
	o := New(Options{Remember: remember})
	r, away := o.Subscriber("r", "a.b", 0), o.Subscriber("away", "a.b", 0)
	l := o.log("a.b")
	held := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return max(len(l.entries), len(l.messages))
	}
	for i := 1; i <= n; i += 500 {
		publish(o, "a.b", i, 500)
		deliver(r, "a.b", i, 500)
		if i == n/2+1 {
			if h := held(); h < n/2 {
				t.Errorf("%d are held while a reader is away", h)
			}
			deliver(away, "a.b", 1, n/2)
		}
		if i > n/2 {
			deliver(away, "a.b", i, 500)
		}
	}
	if h := held(); h > remember+2048 {
		t.Errorf("%d messages are held", h)
	}
	for range 10 * endedReaders {
		w := o.Walk("w", "a.b", n-10, n, false)
		deliver(w, "a.b", n-9, 10)
		w.End()
	}
	if len(l.readers) > endedReaders+2 {
		t.Errorf("%d readers are held", len(l.readers))
	}
	w := o.Walk("all", "a.b", 0, n, false)
	deliver(w, "a.b", 1, n)
	w.End()
	v := o.Judge()
	if !v.OK() || v.Forgotten < n-remember-2048 || v.Published != n {
		t.Errorf("%+v", v)
	}
	deliver(r, "a.b", 7, 1)
	if v := o.Judge(); v.Duplicated != 1 || v.Counts.Violations() != 1 {
		t.Errorf("%+v", v)
	}
}

// A message that is still being tried is not forgotten, however many are stored behind it: its retry must be known for one.
func TestAnOpenAttemptIsRemembered(t *testing.T) {
	o := New(Options{Remember: 100})
	r := o.Subscriber("r", "a.b", 0)
	again := o.Publishing("a.b", "p", "1")
	publish(o, "a.b", 1, 5000)
	deliver(r, "a.b", 1, 5000)
	publish(o, "a.b", 5001, 1)
	third := o.Publishing("a.b", "p", "1")
	again.Acknowledged(Ack{Seq: 1, Epoch: "e", Duplicate: true})
	third.Acknowledged(Ack{Seq: 1, Epoch: "e", Duplicate: true})
	deliver(r, "a.b", 5001, 1)
	if v := o.Judge(); !v.OK() || v.Published != 5001 {
		t.Errorf("%+v", v)
	}
}

// What a walk lacked counts, however many walks come behind it.
func TestALossIsNotForgottenWithItsReader(t *testing.T) {
	o := New(Options{})
	publish(o, "a.b", 1, 2)
	for i := range 2 * endedReaders {
		w := o.Walk("w", "a.b", 0, 2, false)
		deliver(w, "a.b", 1, 1)
		if i > 0 {
			deliver(w, "a.b", 2, 1)
		}
		w.End()
	}
	if v := o.Judge(); v.Lost != 1 || v.Counts.Violations() != 1 {
		t.Errorf("%+v", v)
	}
}

// Many goroutines tell at the same time, in whatever order they run.
func TestConcurrentUse(t *testing.T) {
	const n, readers = 2000, 4
	o := New(Options{Remember: 100})
	var attempts []*Attempt
	for k := 1; k <= n; k++ {
		attempts = append(attempts, o.Publishing("a.b", "p", fmt.Sprint(k)))
	}
	var wg sync.WaitGroup
	for i := range readers {
		r := o.Subscriber(fmt.Sprint("r", i), "a.b", 0)
		wg.Go(func() {
			for k := 1; k <= n; k++ {
				for o.Top("a.b") < uint64(k) && rand.IntN(100) > 0 {
					o.Behind()
				}
				r.Message(delivery("a.b", uint64(k), uint64(k-1), fmt.Sprint(k)))
			}
		})
	}
	_ = o.Judge()
	for i := range 2 {
		wg.Go(func() {
			for k := i; k < n; k += 2 {
				attempts[k].Acknowledged(Ack{Seq: uint64(k + 1), Epoch: "e"})
			}
		})
	}
	wg.Wait()
	if v := o.Judge(); v.Delivered != n*readers || v.Acknowledged != n || !v.OK() {
		t.Errorf("%+v", v)
	}
}

func TestTheListIsBounded(t *testing.T) {
	o := New(Options{List: 3})
	r := o.Subscriber("r", "a.b", 0)
	publish(o, "a.b", 1, 100)
	deliver(r, "a.b", 100, 1)
	if v := o.Judge(); v.Lost != 99 || len(v.Violations) != 3 || v.OK() {
		t.Errorf("%+v", v)
	}
}

func TestBodies(t *testing.T) {
	for form := range Forms {
		for size := 0; size < 3000; size += 97 {
			body := AppendBody([]byte("x"), "a.b", "p", "m1", size, form)[1:]
			if err := CheckBody(body, "a.b", "p", "m1"); err != nil {
				t.Fatal(form, size, err)
			}
			if len(body) > size+100 || len(body) < size-100 {
				t.Errorf("form %d: %d bytes for %d", form, len(body), size)
			}
			if utf8.Valid(body) != (form != Binary) {
				t.Errorf("form %d: %q", form, body)
			}
			if CheckBody(body, "a.b", "p", "m2") == nil || CheckBody(body, "a.c", "p", "m1") == nil || CheckBody(body[:len(body)-1], "a.b", "p", "m1") == nil {
				t.Error("taken for another's")
			}
		}
	}
	if CheckBody(nil, "a.b", "p", "m1") == nil {
		t.Error("an empty body")
	}
}
