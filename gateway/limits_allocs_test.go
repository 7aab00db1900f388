package gateway

import (
	"testing"

	"github.com/jetwire/jetwire/gateway/limit"
	"github.com/jetwire/jetwire/gateway/wire"
)

// TestLimitedAllocations: to count a command costs no memory.
func TestLimitedAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	fast := limit.Rate{PerSecond: 1e9}
	l := newLimits(&Limits{Commands: fast, UserMessages: fast, Connects: fast})
	cl := new(client)
	if n := testing.AllocsPerRun(100, func() {
		if refusal, _ := l.Command(cl, "alice", wire.OpPublish); refusal != nil {
			t.Fatal(refusal)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestCountIsForgotten: an idle client has none.
func TestCountIsForgotten(t *testing.T) {
	for perSecond, idle := range map[float64]bool{1e9: true, 1e-3: false} {
		l := newLimits(&Limits{Commands: limit.Rate{PerSecond: perSecond, Burst: 5}})
		cl := new(client)
		l.Command(cl, "alice", wire.OpPing)
		r := cl.rare.Load()
		if r.forget(); (r.commands.Load() == nil) != idle {
			t.Errorf("%v a second: forgotten is not %v", perSecond, idle)
		}
	}
}

func BenchmarkLimited(b *testing.B) {
	fast := limit.Rate{PerSecond: 1e9}
	l := newLimits(&Limits{Commands: fast, UserMessages: fast})
	cl := new(client)
	b.ReportAllocs()
	for b.Loop() {
		l.Command(cl, "alice", wire.OpPublish)
	}
}
