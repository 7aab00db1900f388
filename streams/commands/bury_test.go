package commands

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/dead"
	"github.com/jetwire/jetwire/streams/natstest"
)

// consumer is a backend's.
func consumer(t testing.TB, js jetstream.JetStream, destination string, change func(*jetstream.ConsumerConfig)) jetstream.Consumer {
	t.Helper()
	c := jetstream.ConsumerConfig{
		Durable: "refunds", FilterSubject: SubjectPrefix + destination, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 50 * time.Millisecond, MaxDeliver: 2,
	}
	if change != nil {
		change(&c)
	}
	made, err := js.CreateOrUpdateConsumer(t.Context(), Stream, c)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// letters returns what is in the stream of dead letters, once there are n.
func letters(t testing.TB, js jetstream.JetStream, n uint64) (all []*jetstream.RawStreamMsg) {
	t.Helper()
	until(t, "the letters are there", func() bool { return messages(t, js, dead.Stream) >= n })
	st, err := js.Stream(t.Context(), dead.Stream)
	if err != nil {
		t.Fatal(err)
	}
	for seq := range n {
		m, err := st.GetMsg(t.Context(), seq+1)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

// fetch takes commands until it has n deliveries, and does with each what the test says.
func fetch(t testing.TB, c jetstream.Consumer, n int, with func(jetstream.Msg) error) {
	t.Helper()
	for n > 0 {
		batch, err := c.Fetch(n, jetstream.FetchMaxWait(within))
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			if err := with(m); err != nil {
				t.Fatal(err)
			}
			n--
		}
		if err := batch.Error(); err != nil && !errors.Is(err, jetstream.ErrNoMessages) {
			t.Fatal(err)
		}
	}
}

// waitFor waits for a delivery that must not come: only to somebody who waits JetStream finds out that a command is exhausted.
func waitFor(t testing.TB, c jetstream.Consumer) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	batch, err := c.Fetch(1, jetstream.FetchContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		for m := range batch.Messages() {
			t.Errorf("delivered once more: %s", m.Data())
		}
	})
}

func nothing(jetstream.Msg) error { return nil }

// TestExhaustedCommandsAreBuried: a command that was delivered as often as its consumer allows becomes one dead letter, however many
// gateways there are, and leaves the queue; the others stay where they are.
func TestExhaustedCommandsAreBuried(t *testing.T) {
	s := natstest.Run(t)
	js := stream(t, s)
	q, other := open(t, s, nil), open(t, s, nil)
	c := consumer(t, js, "billing.*", nil)
	q.mustPut(t, Command{Destination: "other.x", From: "bob"})
	q.mustPut(t, Command{Destination: "billing.refund", ID: "r1", From: "alice", Body: []byte("poison")})
	fetch(t, c, 2, nothing)
	waitFor(t, c)
	l := letters(t, js, 1)[0]
	if l.Subject != "jetwire.dead.command.billing.refund" || string(l.Data) != "poison" {
		t.Errorf("%+v", l)
	}
	for name, want := range map[string]string{
		"Jw-From": "alice", "Jw-Id": "r1", dead.HeaderReason: ReasonExhausted, dead.HeaderConsumer: "refunds", dead.HeaderDeliveries: "2",
		dead.HeaderStream: Stream, dead.HeaderSeq: "2",
	} {
		if got := l.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if _, err := time.Parse(time.RFC3339Nano, l.Header.Get(dead.HeaderTime)); err != nil {
		t.Error(err)
	}
	until(t, "the command has left the queue, and the advisory its stream", func() bool { return messages(t, js, Stream) == 1 && messages(t, js, advisories) == 0 })
	if n := q.Stats().Dead + other.Stats().Dead; n != 1 || messages(t, js, dead.Stream) != 1 {
		t.Errorf("%d letters", n)
	}
}

// TestBuriedOnce: whatever part of it was done before, a command ends as one letter, and not in the queue.
func TestBuriedOnce(t *testing.T) {
	s := natstest.Run(t)
	js := stream(t, s)
	q := open(t, s, nil)
	q.mustPut(t, Command{Destination: "a.b", Body: []byte("x")})
	a := &advisory{Type: exhausted, Time: time.Now(), Stream: Stream, Consumer: "c", Seq: 1, Deliveries: 3}
	// A gateway was killed when it had stored the letter.
	st, err := js.Stream(t.Context(), Stream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := st.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	l := dead.Letter{Reason: a.reason(), Consumer: "c", Deliveries: 3, Stream: Stream, Seq: 1, Time: m.Time}
	if _, err := js.PublishMsg(t.Context(), l.Message("command.a.b", m.Header, m.Data)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := q.giveUp(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	if messages(t, js, dead.Stream) != 1 || messages(t, js, Stream) != 0 {
		t.Errorf("%d letters, %d commands", messages(t, js, dead.Stream), messages(t, js, Stream))
	}
}

// TestAdvisoryOfAnotherStream: an advisory that is older than the queue is not about what has that sequence now.
func TestAdvisoryOfAnotherStream(t *testing.T) {
	s := natstest.Run(t)
	js := stream(t, s)
	q := open(t, s, nil)
	q.mustPut(t, Command{Destination: "a.b", Body: []byte("x")})
	st, err := js.Stream(t.Context(), Stream)
	if err != nil {
		t.Fatal(err)
	}
	a := &advisory{Type: exhausted, Time: st.CachedInfo().Created.Add(-time.Second), Stream: Stream, Consumer: "c", Seq: 1}
	if err := q.giveUp(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if messages(t, js, Stream) != 1 || messages(t, js, dead.Stream) != 0 {
		t.Error("a command that nobody has given up is gone")
	}
}

// TestTerminatedCommands: JetStream has dropped what they said by the time that it tells of them; that they were there is kept, with the
// backend's reason. What is deleted by an operator is nobody's dead letter.
func TestTerminatedCommands(t *testing.T) {
	s := natstest.Run(t)
	js := stream(t, s)
	q := open(t, s, nil)
	c := consumer(t, js, "a.b", func(c *jetstream.ConsumerConfig) { c.AckWait = time.Hour })
	for range 3 {
		q.mustPut(t, Command{Destination: "a.b", Body: []byte("x")})
	}
	st, err := js.Stream(t.Context(), Stream)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	fetch(t, c, 3, func(m jetstream.Msg) error {
		switch n++; n {
		case 1:
			return st.DeleteMsg(t.Context(), 1)
		case 2:
			return m.TermWithReason("no such order")
		}
		return m.Term()
	})
	all := letters(t, js, 2)
	for i, reason := range []string{"no such order", ReasonTerminated} {
		if l := all[i]; l.Subject != "jetwire.dead.terminated.refunds" || len(l.Data) != 0 || l.Header.Get(dead.HeaderReason) != reason || l.Header.Get(dead.HeaderSeq) != strconv.Itoa(i+2) {
			t.Errorf("%+v", l)
		}
	}
	until(t, "all is done", func() bool { return messages(t, js, advisories) == 0 && messages(t, js, Stream) == 0 })
	if messages(t, js, dead.Stream) != 2 {
		t.Error("a command that was deleted has a letter")
	}
}

// TestBuriedLater: what is given up while no gateway runs waits for the next one.
func TestBuriedLater(t *testing.T) {
	s := natstest.Run(t)
	js := stream(t, s)
	q := open(t, s, nil)
	c := consumer(t, js, "a.b", nil)
	q.mustPut(t, Command{Destination: "a.b", Body: []byte("x")})
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	fetch(t, c, 2, nothing)
	waitFor(t, c)
	until(t, "the advisory waits", func() bool { return messages(t, js, advisories) == 1 })
	open(t, s, nil)
	letters(t, js, 1)
	until(t, "the queue is empty", func() bool { return messages(t, js, Stream) == 0 })
}

func FuzzAdvisory(f *testing.F) {
	f.Add([]byte(`{"type":"io.nats.jetstream.advisory.v1.max_deliver","timestamp":"2026-11-22T10:25:48.983152353Z","stream":"jetwire_commands","consumer":"x","stream_seq":4002,"deliveries":2}`))
	f.Add([]byte(`{"type":"io.nats.jetstream.advisory.v1.terminated","stream":"jetwire_commands","consumer":"x","stream_seq":1,"reason":"Message deleted by stream limits"}`))
	f.Add([]byte(`{"type":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, ok := parseAdvisory(data)
		if ok && (a.Seq == 0 || a.Stream != Stream || a.reason() == "" && !strings.Contains(a.Type, "advisory")) {
			t.Fatalf("%q: %+v", data, a)
		}
	})
}

func FuzzAck(f *testing.F) {
	f.Add([]byte(`{"stream":"jetwire_commands","seq":3,"duplicate":true}`))
	f.Add([]byte(`{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := parseAck(data); (err == nil) != (r.Seq != 0) {
			t.Fatalf("%q: %+v, %v", data, r, err)
		}
	})
}
