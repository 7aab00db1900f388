package commands

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/dead"
	"github.com/jetwire/jetwire/streams/natstest"
)

// TestNobodyWasTold: JetStream told nobody that a command was exhausted. It becomes a dead letter all the same; what waits for a backend, or
// is in its hands, does not.
func TestNobodyWasTold(t *testing.T) {
	s := natstest.Run(t)
	js := stream(t, s)
	if err := open(t, s, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), advisories); err != nil {
		t.Fatal(err)
	}
	c := consumer(t, js, "a.*", nil)
	once := consumer(t, js, "b.*", func(c *jetstream.ConsumerConfig) { c.Durable, c.MaxDeliver = "once", 1 })
	held := consumer(t, js, "c.*", func(c *jetstream.ConsumerConfig) { c.Durable, c.AckWait, c.MaxDeliver = "held", time.Hour, 1 })
	consumer(t, js, "d.*", func(c *jetstream.ConsumerConfig) { c.Durable = "idle" })
	for _, destination := range []string{"a.lost", "b.lost", "c.held", "d.waits", "e.waits", "a.done"} {
		if _, err := js.Publish(t.Context(), SubjectPrefix+destination, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for lost, done := 0, 0; lost < 2 || done < 1; { // the lost one comes twice, and the other is acknowledged
		fetch(t, c, 1, func(m jetstream.Msg) error {
			if m.Subject() != SubjectPrefix+"a.done" {
				lost++
				return nil
			}
			done++
			return m.DoubleAck(t.Context())
		})
	}
	fetch(t, once, 1, nothing)
	fetch(t, held, 1, nothing)
	waitFor(t, c)
	waitFor(t, once)
	until(t, "both are exhausted", func() bool {
		for _, c := range []jetstream.Consumer{c, once} {
			if info, err := c.Info(t.Context()); err != nil || info.NumAckPending != 0 {
				return false
			}
		}
		return true
	})
	quick := open(t, s, func(o *Options) { o.sweep = 10 * time.Millisecond })
	for _, l := range letters(t, js, 2) {
		if subject := l.Subject; subject != "jetwire.dead.command.a.lost" && subject != "jetwire.dead.command.b.lost" || l.Header.Get(dead.HeaderReason) != ReasonExhausted {
			t.Errorf("%+v", l)
		}
	}
	until(t, "they have left the queue", func() bool { return messages(t, js, Stream) == 3 && quick.Stats().Waiting == 3 })
	q := open(t, s, nil)
	for range 3 { // the others are never found
		found, err := q.stranded(t.Context())
		if err != nil || len(found) != 0 {
			t.Errorf("%v, %v", found, err)
		}
	}
	if n := messages(t, js, dead.Stream); n != 2 {
		t.Errorf("%d letters", n)
	}
}
