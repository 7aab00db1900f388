package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

// stepTimeout is how long connecting may go without a single connection's success.
const stepTimeout = 15 * time.Second

// clock counts nanoseconds since the machine was started, the same in all its processes. Payloads carry its times.
type clock struct {
	zero  time.Time
	since int64 // of zero
}

func newClock() clock {
	since := monotonic()
	return clock{time.Now(), since}
}

func (c clock) now() int64 { return c.since + int64(time.Since(c.zero)) }

// fleet is every socket of a run. Subscribers share some loops; publishers have one of their own, so that a publisher
// never waits until thousands of deliveries have been read.
type fleet struct {
	target  *Target
	gates   []*Target // target and its others
	load    *Load
	qos     wire.QoS
	clock   clock
	sources []netip.Addr
	turn    atomic.Uint64 // of sources
	net     byte          // source addresses are in 127.0.net.0/24; 0 unless there are several load processes

	lenient bool // a connection that cannot join is counted, and the run goes on; fixed before loops are opened

	loops  []*loop // the subscribers'
	others []*loop // that close ends, too

	standing atomic.Int64 // connections that have joined and not ended
	remote   atomic.Int64 // deliveries in load processes

	mu       sync.Mutex // guards what follows; a loop's mu may be held when it is taken, never the other way round
	firstErr error      // of a connection that could not join, or of a loop
	broken   atomic.Bool
	missing  int              // connections still to join
	total    int              // connections that joined
	joins    report.Histogram // how long they took
	change   chan struct{}    // holds one token whenever missing or firstErr has changed
	lostConn uint64           // ended by the server after they had joined
	reasons  map[string]int   // why
	all      []*loop          // that were ever made
	lastJoin int64            // when the last connection joined
	failures map[string]int   // why connections could not join, where that is no end of the run
}

func newFleet(l *Load, qos wire.QoS) *fleet {
	f := &fleet{
		target: l.Target, gates: l.Target.all(), load: l, qos: qos, clock: newClock(), joins: report.NewHistogram(),
		change: make(chan struct{}, 1),
	}
	l.sampler.add(f)
	return f
}

// every returns all loops.
func (f *fleet) every() []*loop {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.all)
}

// open starts the subscribers' loops, each with a sink of its own.
func (f *fleet) open(newSink func() sink) error {
	n := f.load.Loops
	if n <= 0 {
		n = max(1, runtime.NumCPU()/2)
	}
	for range n {
		l, err := f.newLoop(newSink())
		if err != nil {
			return err
		}
		f.loops = append(f.loops, l)
	}
	return nil
}

// close ends all loops, those given beside the subscribers' too.
func (f *fleet) close(others ...*loop) error {
	var errs []error
	for _, l := range slices.Concat(others, f.others, f.loops) {
		if l != nil {
			errs = append(errs, l.close())
		}
	}
	return errors.Join(errs...)
}

// reserve checks that n sockets can be had at all, and chooses the source addresses for them.
func (f *fleet) reserve(n int) error { return f.reserveOf(n, n) }

// reserveOf is reserve in a process that has n of all the sockets of a run.
func (f *fleet) reserveOf(n, all int) error {
	if err := f.checkFiles(n, all); err != nil {
		return err
	}
	ports := portRange() * len(f.gates)
	count := f.load.Sources
	if count <= 0 {
		count = (n + ports*3/4 - 1) / (ports * 3 / 4)
	}
	if n > count*ports {
		return fmt.Errorf("%w: %d sockets from %d source addresses, which have %d ports each (net.ipv4.ip_local_port_range): give more --sources", ErrPorts, n, count, ports)
	}
	if count <= 1 && f.net == 0 {
		return nil // the kernel chooses
	}
	if slices.ContainsFunc(f.gates, func(t *Target) bool { return !t.addr.Addr().Is4() || !t.addr.Addr().IsLoopback() }) {
		if count <= 1 {
			return nil // the processes share the ports of one address
		}
		if f.load.Sources > 1 {
			return fmt.Errorf("%w: several source addresses are only to be had for 127.0.0.0/8", ErrTarget)
		}
		return fmt.Errorf("%w: %d sockets, and only %d local ports for them: leave a part of the sockets to a second machine", ErrTarget, n, ports)
	}
	if count > 250 {
		return fmt.Errorf("%w: %d source addresses, at most 250", ErrTarget, count)
	}
	for i := range max(count, 1) {
		f.sources = append(f.sources, netip.AddrFrom4([4]byte{127, 0, f.net, byte(i + 1)}))
	}
	return nil
}

// otherFiles are those that a process has beside its sockets.
const otherFiles = 64

// checkFiles checks that neither this process lacks descriptors for n sockets, nor the server for all.
func (f *fleet) checkFiles(n, all int) error {
	limit, err := fileLimit()
	if err != nil {
		return err
	}
	if n+otherFiles > limit {
		return fmt.Errorf("%w: %d sockets need %d, the limit of this process is %d (ulimit -n); "+
			"the server needs as many; ask for at most %d connections", ErrFiles, n, n+otherFiles, limit, limit-otherFiles)
	}
	need := report.Files{Needed: n + otherFiles, Client: limit, ServerNeeded: (all+len(f.gates)-1)/len(f.gates) + otherFiles}
	for _, t := range f.gates {
		limit := processFileLimit(t.PID)
		if limit > 0 && need.ServerNeeded > limit {
			return fmt.Errorf("%w: its share of %d sockets takes %d, the limit of the server (process %d) is %d: start it with a higher one "+
				"(ulimit -n, LimitNOFILE), or ask for at most %d connections", ErrFiles, all, need.ServerNeeded, t.PID, limit, max(limit-otherFiles, 0)*len(f.gates))
		}
		if need.Server == 0 || limit > 0 && limit < need.Server {
			need.Server = limit
		}
	}
	f.load.sampler.need(need)
	return nil
}

// portRange is how many ports the kernel gives out.
func portRange() int {
	const usual = 28_000
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return usual
	}
	fields := strings.Fields(string(text))
	if len(fields) != 2 {
		return usual
	}
	low, _ := strconv.Atoi(fields[0])
	high, _ := strconv.Atoi(fields[1])
	return max(high-low, 1000)
}

func (f *fleet) source() netip.Addr {
	if len(f.sources) == 0 {
		return netip.Addr{}
	}
	return f.sources[f.turn.Add(1)%uint64(len(f.sources))]
}

// join opens connections on the given loops in turn, and returns once all have joined.
func (f *fleet) join(ctx context.Context, loops []*loop, conns []*conn) error {
	f.expect(len(conns))
	shares := make([][]*conn, len(loops))
	for i, c := range conns {
		shares[i%len(loops)] = append(shares[i%len(loops)], c)
	}
	for i, l := range loops {
		l.add(shares[i])
	}
	return f.awaitJoins(ctx, len(conns))
}

func (f *fleet) expect(n int) {
	f.mu.Lock()
	f.missing += n
	f.mu.Unlock()
}

// awaitJoins returns once all of the n connections that were begun have joined.
func (f *fleet) awaitJoins(ctx context.Context, n int) error {
	patience := time.NewTimer(stepTimeout)
	defer patience.Stop()
	for {
		f.mu.Lock()
		missing, err := f.missing, f.firstErr
		f.mu.Unlock()
		switch {
		case err != nil:
			return fmt.Errorf("%w: %w (%d of %d had not joined)", ErrJoin, err, missing, n)
		case missing == 0:
			return nil
		}
		select {
		case <-f.change:
			patience.Reset(stepTimeout)
		case <-patience.C:
			if f.lenient {
				f.giveUp(errNoAnswer)
				patience.Reset(stepTimeout)
				continue
			}
			return fmt.Errorf("%w: %d of %d connections have not joined", ErrNoProgress, missing, n)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (f *fleet) joinedOne(began, now int64) {
	f.mu.Lock()
	f.missing--
	f.total++
	f.lastJoin = now
	f.joins.Record(now - began)
	f.mu.Unlock()
	f.standing.Add(1)
	f.wake()
}

func (f *fleet) wake() {
	select {
	case f.change <- struct{}{}:
	default:
	}
}

func (f *fleet) failed() bool { return f.broken.Load() }

// notJoined counts a connection that could not join.
func (f *fleet) notJoined(why error) {
	if !f.lenient {
		f.fail(why)
		return
	}
	f.mu.Lock()
	f.missing--
	tell(&f.failures, why.Error(), 1)
	f.mu.Unlock()
	f.wake()
}

// fail records why the run cannot go on.
func (f *fleet) fail(err error) {
	f.mu.Lock()
	if f.firstErr == nil {
		f.firstErr = err
	}
	f.mu.Unlock()
	f.broken.Store(true)
	f.wake()
}

func (f *fleet) disconnected(why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lostConn++
	tell(&f.reasons, why.Error(), 1)
}

// err returns why the run cannot go on, nil if it can.
func (f *fleet) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.firstErr
}

// noteDisconnects says which connections the server ended.
func (f *fleet) noteDisconnects(r *report.Report) {
	f.mu.Lock()
	defer f.mu.Unlock()
	(&findings{Ended: f.lostConn, Reasons: f.reasons}).report(r)
}
