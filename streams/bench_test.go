package streams

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/natstest"
)

const benchBody = 128

// BenchmarkPublish compares this package, tail included, with nats.go's asynchronous publisher. Both keep 2,000 messages on their way.
func BenchmarkPublish(b *testing.B) {
	const inFlight = 2000
	b.Run("raw", func(b *testing.B) {
		srv := natstest.Run(b)
		js, err := jetstream.New(srv.Conn(), jetstream.WithPublishAsyncMaxPending(inFlight))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := js.CreateStream(context.Background(), (Policy{Namespace: "chat", Replicas: 1, MaxMessageSize: 64 << 10, DedupWindow: 2 * time.Minute}).apply(jetstream.StreamConfig{})); err != nil {
			b.Fatal(err)
		}
		body := make([]byte, benchBody)
		b.ResetTimer()
		for i := range b.N {
			if _, err := js.PublishMsgAsync(&nats.Msg{Subject: channelName(i), Data: body}, jetstream.WithStallWait(time.Minute)); err != nil {
				b.Fatal(err)
			}
		}
		<-js.PublishAsyncComplete()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	})
	for _, c := range []struct {
		name string
		from string
		qos  uint8
		tail bool
	}{{"qos1-anonymous", "", 1, false}, {"qos1", "alice", 1, false}, {"qos1-tail", "alice", 1, true}, {"qos2-tail", "alice", 2, true}} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, func(o *Options) { o.Deliver = func([]*Message) {} })
			s := r.stream("chat.x")
			if !c.tail {
				r.log.opening.mu.Lock()
				s.stop()
				r.log.opening.mu.Unlock()
			}
			body := make([]byte, benchBody)
			slots := make(chan struct{}, inFlight)
			var failed atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				slots <- struct{}{}
				wg.Add(1)
				id := ""
				if c.qos == 2 {
					id = fmt.Sprint(i)
				}
				r.log.Publish(Publication{Channel: channelName(i), QoS: c.qos, ID: id, From: c.from, Body: body}, func(_ Ack, err error) {
					if err != nil {
						failed.Add(1)
					}
					<-slots
					wg.Done()
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
			if failed.Load() > 0 {
				b.Fatal(failed.Load(), "failed")
			}
		})
	}
}

var benchNames = func() (names [1000]string) {
	for i := range names {
		names[i] = fmt.Sprintf("chat.room%d", i)
	}
	return names
}()

func channelName(i int) string { return benchNames[i%len(benchNames)] }

// BenchmarkPage reads the last 50 messages of one channel among 100,000 of which nothing is in the ring.
func BenchmarkPage(b *testing.B) {
	const count = 100_000
	for _, c := range []struct {
		name     string
		channels int
		ring     int64
	}{{"log", 100, 1}, {"ring", 100, 256 << 20}} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, func(o *Options) { o.RingBytes, o.Deliver = c.ring, func([]*Message) {} })
			slots, body := make(chan struct{}, 2000), make([]byte, benchBody)
			for i := range count {
				slots <- struct{}{}
				r.log.Publish(Publication{Channel: channelName(i % c.channels), QoS: 1, From: "alice", Body: body}, func(_ Ack, err error) {
					if err != nil {
						b.Error(err)
					}
					<-slots
				})
			}
			s := r.stream("chat.x")
			r.atHead(s, count)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if p := r.page(s, PageRequest{Channel: channelName(i % c.channels), Newest: true, Limit: 50}); len(p.Messages) != 50 {
					b.Fatal(len(p.Messages))
				}
			}
		})
	}
}
