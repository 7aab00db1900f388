package soak

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAPlanComesFromItsSeed(t *testing.T) {
	for seed := range uint64(50) {
		o := Options{Seed: seed, Duration: 30 * time.Second}
		plan := NewPlan(&o)
		if !reflect.DeepEqual(plan, NewPlan(&Options{Seed: seed, Duration: 30 * time.Second})) {
			t.Fatal("the same seed gave two plans")
		}
		if reflect.DeepEqual(plan, NewPlan(&Options{Seed: seed + 1, Duration: 30 * time.Second})) {
			t.Fatal("two seeds gave the same plan")
		}
		count := map[Fault]int{}
		ends := map[string]time.Duration{}
		for _, e := range plan {
			count[e.Fault]++
			if e.At < 0 || e.At > o.Duration {
				t.Errorf("seed %d: %v", seed, e)
			}
			if e.Fault != Kill && e.Fault != Drain && e.At < ends[key(e)] {
				t.Errorf("seed %d: %v begins before the one before it ends", seed, e)
			}
			ends[key(e)] = e.At + e.For
		}
		if count[Kill] != 3 || count[Drain] != 1 {
			t.Errorf("seed %d: %v", seed, count)
		}
		for _, f := range []Fault{Cut, Mute, Choke, Hold, Vanish} {
			if count[f] == 0 {
				t.Errorf("seed %d: no %s", seed, f)
			}
		}
		if !slices.IsSortedFunc(plan, func(a, b Event) int { return int(a.At - b.At) }) {
			t.Error("not in order")
		}
	}
}

func TestKillsOfAPlan(t *testing.T) {
	for kills := 1; kills < 6; kills++ {
		n := 0
		for _, e := range NewPlan(&Options{Duration: 10 * time.Second, Kills: kills}) {
			if e.Fault == Kill {
				n++
			}
		}
		if n != kills {
			t.Errorf("%d kills for %d", n, kills)
		}
	}
}
