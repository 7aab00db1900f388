package devices

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jetwire/jetwire/streams/natstest"
)

// cpu is the processor time that this process has used, the embedded server's included.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchPositions() []Position {
	return []Position{{"user.someone-000017", 1, "t7k2m9xw1c", 48211}, {"orders.*.status", 1, "t7k2mb00zz", 1093377}, {"chat.room-1207", 2, "t7k2maq410", 77120015}}
}

// BenchmarkTake lets 10,000 devices be taken at once: for the first time, again by the same gateway after they were let go, and again by
// another gateway while they are held.
func BenchmarkTake(b *testing.B) {
	const n = 10_000
	srv := natstest.Run(b)
	one, two := openOn(b, srv, nil), openOn(b, srv, nil)
	hs := make([]*session, n)
	all := func(s *Store) {
		var wg sync.WaitGroup
		wg.Add(n)
		for i := range hs {
			h := &session{t: b, owner: fmt.Sprintf("%022d", sessions.Add(1))}
			hs[i] = h
			h.set(benchPositions()...)
			s.Take(fmt.Sprintf("user-%06d", i), "phone-a81f", h.owner, h, func(d *Device, _ Record, err error) {
				if err != nil {
					b.Error(err)
				}
				h.dev = d
				wg.Done()
			})
		}
		wg.Wait()
	}
	measure := func(b *testing.B, s *Store, before func()) {
		var took, used time.Duration
		for range b.N {
			before()
			runtime.GC()
			start, from := time.Now(), cpu()
			all(s)
			took += time.Since(start)
			used += cpu() - from
		}
		b.ReportMetric(n*float64(b.N)/took.Seconds(), "takes/s")
		b.ReportMetric(float64(used.Microseconds())/n/float64(b.N), "cpu-µs/take")
	}
	release := func() {
		for _, h := range hs {
			h.dev.Release()
		}
		eventually(b, "nobody here", func() bool { return len(one.cellsNow())+len(two.cellsNow()) == 0 })
	}
	b.Run("new", func(b *testing.B) {
		measure(b, one, func() {
			if hs[0] != nil {
				release()
				nc := srv.Conn()
				if err := jsOf(b, nc).DeleteKeyValue(context.Background(), bucketName); err != nil {
					b.Fatal(err)
				}
				nc.Close()
				h := hold(b, one, "other", "other") // makes it again
				h.dev.Release()
			}
		})
	})
	b.Run("again", func(b *testing.B) {
		measure(b, one, func() {
			for _, h := range hs {
				h.dev.Changed()
			}
			release()
		})
	})
	b.Run("over", func(b *testing.B) { // half of them in each direction
		s := two
		measure(b, s, func() {
			if hs[0].dev.store == two {
				release()
				all(one)
			}
		})
	})
	u, err := one.Usage(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d records, %d bytes each", u.Records, u.Bytes/u.Records)
}

// BenchmarkStore keeps 500 devices storing all the time.
func BenchmarkStore(b *testing.B) {
	srv := natstest.Run(b)
	s := openOn(b, srv, nil)
	const n = 500
	slots := make(chan *session, n)
	for i := range n {
		h := hold(b, s, fmt.Sprint("user", i), "phone")
		h.set(benchPositions()...)
		slots <- h
	}
	from := cpu()
	b.ResetTimer()
	for range b.N {
		h := <-slots
		h.dev.Store(func(err error) {
			if err != nil {
				b.Error(err)
			}
			slots <- h
		})
	}
	for range n {
		<-slots
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "stores/s")
	b.ReportMetric(float64((cpu()-from).Microseconds())/float64(b.N), "cpu-µs/store")
}

// hole is a bucket that keeps nothing.
type hole struct{ rev atomic.Uint64 }

func (*hole) get(_ string, _ bool, done func(entry, error))                { done(entry{}, nil) }
func (h *hole) put(_ string, _ []byte, _ uint64, done func(uint64, error)) { done(h.rev.Add(1), nil) }
func (*hole) ensure(context.Context) (time.Time, error)                    { return time.Time{}, nil }
func (*hole) announce(string, mark)                                        {}
func (*hole) trim(context.Context, string, int, func(string) bool) (int, error) {
	return 0, nil
}

// BenchmarkHeld tells what a device costs in memory while it is held, and when it no longer is.
func BenchmarkHeld(b *testing.B) {
	const n = 100_000
	o := Options{Connect: (*natstest.Server)(nil).Connect, Logger: quiet()}
	if err := o.fill(); err != nil {
		b.Fatal(err)
	}
	s := newStore(o)
	s.start(&hole{}, time.Time{})
	b.Cleanup(func() { _ = s.Close() })
	h := &session{t: b}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	hold(b, s, "first", "phone")
	goroutines := runtime.NumGoroutine()
	for range b.N {
		devs := make([]*Device, n)
		before := heap()
		var wg sync.WaitGroup
		wg.Add(n)
		slots := make(chan struct{}, 10_000)
		for i := range n {
			slots <- struct{}{}
			s.Take(fmt.Sprintf("user-%06d", i), "phone-a81f", "owner", h, func(d *Device, _ Record, err error) {
				if err != nil {
					b.Error(err)
				}
				devs[i] = d
				wg.Done()
				<-slots
			})
		}
		wg.Wait()
		eventually(b, "nothing on its way", func() bool { return s.Stats().Waiting == 0 })
		held := heap()
		for _, d := range devs {
			d.Release()
		}
		eventually(b, "nobody here", func() bool { return len(s.cellsNow()) == 1 })
		clear(devs)
		b.ReportMetric(float64(int64(held-before))/n, "B/held")
		b.ReportMetric(float64(int64(heap()-before))/n, "B/released")
	}
	b.ReportMetric(float64(runtime.NumGoroutine()-goroutines), "goroutines")
}
