package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// tellArrivals is how long a load process may keep new deliveries for itself.
const tellArrivals = 10 * time.Millisecond

// Work is a load process: it holds a part of a run's subscribers, as the orders on in say, and answers on out. It ends when in does, or
// with the error that kept it from going on.
func Work(ctx context.Context, in io.Reader, out io.Writer) error {
	w := &worker{out: out}
	err := w.serve(ctx, in)
	if w.flow == nil {
		return err
	}
	w.stop()
	w.telling.Wait()
	return errors.Join(err, w.flow.fleet.close())
}

// worker is a load process.
type worker struct {
	flow    *flow // nil before start
	stop    context.CancelFunc
	telling sync.WaitGroup

	mu  sync.Mutex // guards out
	out io.Writer
}

func (w *worker) serve(ctx context.Context, in io.Reader) error {
	orders := lines(in)
	for orders.Scan() {
		var o order
		err := decodeLine(orders.Bytes(), &o)
		if err == nil {
			err = o.check()
		}
		if err != nil {
			return err
		}
		x, err := w.carryOut(ctx, &o)
		if err != nil {
			x = outcome{Error: err.Error()}
		}
		x.Done = true
		if err := w.tell(&x); err != nil {
			return err
		}
	}
	return orders.Err()
}

func (w *worker) tell(x *outcome) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return writeLine(w.out, x)
}

func (w *worker) carryOut(ctx context.Context, o *order) (x outcome, err error) {
	if (o.Start != nil) != (w.flow == nil) {
		return x, fmt.Errorf("%w: start comes first, and once", errOrder)
	}
	switch {
	case o.Start != nil:
		return x, w.start(ctx, o.Start)
	case o.Open != nil:
		opened, err := w.flow.openHere(ctx, *o.Open)
		x.Opened = &opened
		return x, err
	case o.Span != nil:
		w.flow.fleet.span(o.Span[0], o.Span[1])
	case o.Edge:
		edge := w.flow.fleet.edge()
		x.Edge = &edge
	case o.Judge != nil:
		found := w.flow.fleet.judge(o.Judge)
		x.Findings = &found
	case o.Leave:
		w.flow.leaveHere()
	}
	return x, w.flow.fleet.err()
}

// start opens the loops.
func (w *worker) start(ctx context.Context, s *start) error {
	l := Load{Loops: s.Loops, Ahead: s.Ahead, OneByOne: s.OneByOne, Sources: s.Sources}.withDefaults()
	for _, url := range s.URLs {
		t, err := NewTarget(ctx, url, s.Token, 0, "")
		if err != nil {
			return err
		}
		if l.Target == nil {
			l.Target = t
			t.Protocol = s.Protocol
		} else {
			l.Target.Others = append(l.Target.Others, t)
		}
	}
	f := newFleet(&l, s.QoS)
	f.lenient, f.net = s.Lenient, s.Net
	if err := f.reserve(s.Sockets); err != nil {
		return err
	}
	w.flow = newFlow(&l, f, makeChannels(s.Prefix, s.Channels), 1)
	w.flow.own = s.Own
	ctx, w.stop = context.WithCancel(ctx)
	if err := f.open(w.flow.newSink); err != nil {
		return err
	}
	w.telling.Go(func() { w.tellArrivals(ctx, s.Mark) })
	return nil
}

// tellArrivals says how many deliveries there are whenever another mark is reached, and now and then.
func (w *worker) tellArrivals(ctx context.Context, mark int64) {
	tick := time.NewTicker(tellArrivals)
	defer tick.Stop()
	for told := int64(0); ; {
		w.flow.threshold.Store(told - told%mark + mark)
		select {
		case <-w.flow.due:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := w.flow.arrived.Load()
		if now == told {
			continue
		}
		if told = now; w.tell(&outcome{Arrived: now}) != nil {
			return // whoever it worked for is gone
		}
	}
}
