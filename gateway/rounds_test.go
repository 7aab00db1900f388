package gateway

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// Who comes while a pass is under way waits for the next one, and that serves all of them.
func TestOnePassServesAllWhoWait(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	var met atomic.Int64
	one := &client{}
	r := rounds{each: func(f func(*client)) {
		begun <- struct{}{}
		<-goOn
		f(one)
	}}
	var work sync.WaitGroup
	visit := func() {
		r.visit("", func(cl *client) {
			if cl == one {
				met.Add(1)
			}
		})
	}
	work.Go(visit)
	<-begun
	const others = 100
	for range others {
		work.Go(visit)
	}
	work.Go(func() { r.visit("nobody", func(*client) { t.Error("nobody was met") }) })
	for waiting := 0; waiting < others+1; runtime.Gosched() {
		r.mu.Lock()
		waiting = len(r.waiting)
		r.mu.Unlock()
	}
	goOn <- struct{}{}
	<-begun
	goOn <- struct{}{}
	work.Wait() // with no third pass
	if met.Load() != 1+others || len(r.waiting) != 0 {
		t.Errorf("%d were served, %d wait", met.Load(), len(r.waiting))
	}
}
