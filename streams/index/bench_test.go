package index

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

func names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("chat.room.%d", i)
	}
	return out
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// filled gives an index with per messages on each of the channels, in random order.
func filled(channels []string, per int) *Index {
	x := New(0)
	r := rand.New(rand.NewPCG(1, 2))
	for seq := uint64(1); seq <= uint64(len(channels)*per); seq++ {
		x.Append(channels[r.IntN(len(channels))], seq, int64(seq)*1000)
	}
	return x
}

func benchmarkAppend(b *testing.B, channels int, budget, limit int64) {
	ns := names(channels)
	x := New(budget)
	x.SetMaxPerChannel(limit)
	r := rand.New(rand.NewPCG(1, 2))
	seq := uint64(0)
	for i := range ns {
		seq++
		x.Append(ns[i], seq, int64(seq))
	}
	order := make([]uint32, 1<<20)
	for i := range order {
		order[i] = uint32(r.IntN(channels))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		seq++
		x.Append(ns[order[i&(len(order)-1)]], seq, int64(seq))
	}
}

func BenchmarkAppend(b *testing.B) {
	b.Run("channels=1", func(b *testing.B) { benchmarkAppend(b, 1, 0, 0) })
	b.Run("channels=100k", func(b *testing.B) { benchmarkAppend(b, 100_000, 0, 0) })
	b.Run("channels=1M", func(b *testing.B) { benchmarkAppend(b, 1_000_000, 0, 0) })
	b.Run("channels=100k,keep=50", func(b *testing.B) { benchmarkAppend(b, 100_000, 0, 50) })
	b.Run("channels=100k,budget", func(b *testing.B) { benchmarkAppend(b, 100_000, 16<<20, 0) })
}

// BenchmarkNewChannel appends to channels that were never seen, with a budget that makes the oldest go.
func BenchmarkNewChannel(b *testing.B) {
	ns := names(1_000_000)
	for _, budget := range []int64{0, 32 << 20} {
		b.Run(fmt.Sprintf("budget=%d", budget), func(b *testing.B) {
			x := New(budget)
			b.ReportAllocs()
			for i := 0; i < b.N; i++ {
				if i%len(ns) == 0 {
					x.Reset(uint64(i) + 1)
				}
				x.Append(ns[i%len(ns)], uint64(i)+1, int64(i))
			}
		})
	}
}

func BenchmarkAfter50(b *testing.B) { benchmarkRead(b, (*Index).After) }

func BenchmarkLast50(b *testing.B) { benchmarkRead(b, (*Index).Before) }

func benchmarkRead(b *testing.B, read func(*Index, []uint64, string, uint64, uint64, int) []uint64) {
	ns := names(100_000)
	x := filled(ns, 60)
	r := rand.New(rand.NewPCG(3, 4))
	buf := make([]uint64, 0, 64)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		buf = read(x, buf[:0], ns[r.IntN(len(ns))], 100_000, 6_000_000, 50)
	}
}

// BenchmarkMemory reports what the index takes: bytes by its own count, heap as the runtime sees it.
func BenchmarkMemory(b *testing.B) {
	for _, c := range []struct{ channels, per int }{{1_000_000, 0}, {100_000, 20}, {100_000, 100}, {1000, 5000}, {1, 2_000_000}} {
		b.Run(fmt.Sprintf("channels=%d,per=%d", c.channels, c.per), func(b *testing.B) {
			ns := names(c.channels)
			for i := 0; i < b.N; i++ {
				before := heap()
				var x *Index
				if c.per == 0 {
					x = New(0)
					for k, name := range ns {
						x.Append(name, uint64(k)+1, int64(k))
					}
				} else {
					x = filled(ns, c.per)
				}
				_, bytes := x.Stats()
				held := heap() - before
				b.ReportMetric(float64(bytes)/float64(c.channels), "bytes/channel")
				b.ReportMetric(float64(held)/float64(c.channels), "heap/channel")
				b.ReportMetric(float64(bytes)/float64(c.channels*max(c.per, 1)), "bytes/entry")
				runtime.KeepAlive(x)
			}
		})
	}
}

// BenchmarkPrepend rebuilds two million messages on 100,000 channels in windows of 50,000 sequences.
func BenchmarkPrepend(b *testing.B) {
	const total, size = 2_000_000, 50_000
	ns := names(100_000)
	for i := 0; i < b.N; i++ {
		r := rand.New(rand.NewPCG(1, 2))
		x := New(0)
		x.Reset(total + 1)
		for to := uint64(total + 1); to > 1; to -= size {
			w := NewWindow(to-size, to)
			for seq := to - size; seq < to; seq++ {
				w.Add(ns[r.IntN(len(ns))], seq, int64(seq))
			}
			x.Prepend(w)
		}
		_, bytes := x.Stats()
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/total, "ns/entry")
		b.ReportMetric(float64(bytes)/total, "bytes/entry")
	}
}

// BenchmarkMatch plans 16,384 messages of all channels, and of one in 10,000, of which there are fewer.
func BenchmarkMatch(b *testing.B) {
	for _, channels := range []int{100_000, 1_000_000} {
		x := filled(names(channels), 10)
		for _, c := range []struct {
			name  string
			match func([]byte) bool
		}{
			{"all", func(name []byte) bool { return string(name[:5]) == "chat." }},
			{"few", func(name []byte) bool { return string(name[max(0, len(name)-4):]) == "0077" }},
		} {
			b.Run(fmt.Sprintf("channels=%d,%s", channels, c.name), func(b *testing.B) {
				for b.Loop() {
					if m, ok := x.Match(c.match, 0, uint64(10*channels), 16<<10); !ok || len(m.Found) == 0 {
						b.Fatal(len(m.Found))
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(channels), "ns/channel")
			})
		}
	}
}
