package streams

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// cpu returns what the process has used so far: the server's part too, as it is embedded.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fillBehind stores count messages of 200 bytes on so many channels, in a random order that is the same each time.
func fillBehind(b *testing.B, r *rig, channels, count int) {
	b.Helper()
	slots, body := make(chan struct{}, 4000), make([]byte, 200)
	order := make([]int, count)
	for i := range order {
		order[i] = i % channels
	}
	rand.New(rand.NewPCG(5, 6)).Shuffle(count, func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, c := range order {
		slots <- struct{}{}
		r.log.Publish(Publication{Channel: fmt.Sprintf("chat.room%d", c), QoS: 1, From: "alice", Body: body}, func(_ Ack, err error) {
			if err != nil {
				b.Error(err)
			}
			<-slots
		})
	}
	r.atHead(r.stream("chat.x"), uint64(count))
}

// publishBeside publishes 1,000 messages a second to a channel that nobody reads, until the function it returns is called, which gives the
// p50 and p99 of the acknowledgements.
func publishBeside(r *rig) (stop func() (p50, p99 time.Duration)) {
	var took []time.Duration
	var mu sync.Mutex
	var wg sync.WaitGroup
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				wg.Wait()
				return
			case <-tick.C:
			}
			wg.Add(1)
			start := time.Now()
			r.log.Publish(Publication{Channel: "chat.beside", QoS: 1, Body: make([]byte, 200)}, func(Ack, error) {
				mu.Lock()
				took = append(took, time.Since(start))
				mu.Unlock()
				wg.Done()
			})
		}
	}()
	return func() (p50, p99 time.Duration) {
		close(done)
		<-ended
		slices.Sort(took)
		return took[len(took)/2], took[len(took)*99/100]
	}
}

// BenchmarkManyBehind lets cursors of as many channels read what they missed, a page each, from so many goroutines; none of it is in the ring.
func BenchmarkManyBehind(b *testing.B) {
	for _, c := range []struct {
		name             string
		channels, stored int
		cursors, wants   int
	}{
		{"dense", 10_000, 200_000, 10_000, 20},
		{"sparse", 400_000, 2_000_000, 1000, 5},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, func(o *Options) { o.RingBytes, o.Deliver = 1, func([]*Message) {} })
			fillBehind(b, r, c.channels, c.stored)
			s := r.stream("chat.x")
			for _, workers := range []int{1, 16, 64} {
				if workers == 1 && c.name == "dense" {
					continue
				}
				for _, beside := range []bool{false, true} {
					b.Run(fmt.Sprintf("workers=%d,publisher=%v", workers, beside), func(b *testing.B) {
						benchmarkBehind(b, r, s, c.channels, c.cursors, c.wants, uint64(c.stored), workers, beside)
					})
				}
			}
		})
	}
}

func benchmarkBehind(b *testing.B, r *rig, s *Stream, channels, cursors, wants int, until uint64, workers int, beside bool) {
	order := rand.New(rand.NewPCG(7, 8)).Perm(channels)[:cursors]
	var stop func() (p50, p99 time.Duration)
	if beside {
		stop = publishBeside(r)
	}
	was, used := r.log.Stats(), cpu()
	b.ResetTimer()
	for range b.N {
		var next, got atomic.Int64
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for {
					i := int(next.Add(1)) - 1
					if i >= len(order) {
						return
					}
					p, err := s.Page(context.Background(), PageRequest{Channel: fmt.Sprintf("chat.room%d", order[i]), Until: until, Limit: 100})
					if err != nil || len(p.Messages) != wants || p.LostTo > 0 {
						b.Errorf("%d messages, %v, lost %d", len(p.Messages), err, p.LostTo)
					}
					got.Add(int64(len(p.Messages)))
				}
			})
		}
		wg.Wait()
		if got.Load() != int64(cursors*wants) {
			b.Fatal(got.Load())
		}
	}
	b.StopTimer()
	total := float64(b.N * cursors * wants)
	st := r.log.Stats()
	b.ReportMetric(total/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64((cpu()-used).Microseconds())/total, "cpu-µs/msg")
	b.ReportMetric(float64(st.DirectGets-was.DirectGets)/float64(b.N), "gets")
	if beside {
		p50, p99 := stop()
		b.ReportMetric(float64(p50.Microseconds()), "ack-p50-µs")
		b.ReportMetric(float64(p99.Microseconds()), "ack-p99-µs")
	}
}
