// Package soak shows that a server keeps its promise while everything goes wrong: it is killed and drained and comes back, connections are cut in
// the middle of a frame or carry nothing for a while, and subscribers stall, vanish and return. Publishers send at QoS 2 and try again through
// all of that. At the end everything comes to rest, each subscriber catches up, the whole history is read in both directions, and an
// oracle (bench/oracle) judges what everybody was told.
//
// Invariants:
//   - All randomness comes from the seed: the schedule of faults, and what is published. The same seed and shape give the same Plan.
//   - Publishers and subscribers are gateway/client, as programs use it, each over a link of its own. Devices speak the protocol themselves:
//     a client that repairs would hide what a server does.
//   - Nothing waits for ever: a run ends within its duration and three times Settle.
//
// It must not know how a server is started: Options.Start does that.
package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jetwire/jetwire/bench/oracle"
	"github.com/jetwire/jetwire/gateway/client"
)

// The defaults of Options.
const (
	DefaultDuration   = 60 * time.Second
	DefaultSettle     = 60 * time.Second
	DefaultRate       = 2000
	DefaultChannels   = 6
	DefaultPublishers = 4
	DefaultSteady     = 3
	DefaultStalling   = 3
	DefaultVanishing  = 3
	DefaultPassing    = 2
	DefaultBrowsing   = 2
	DefaultDevices    = 4
	DefaultMatching   = 3
	DefaultKillEvery  = 8 * time.Second
	DefaultPayload    = 3000
)

// Server is a server under test, as a process of its own.
type Server interface {
	Addr() string // HOST:PORT of the WebSocket
	Kill() error  // at once, as by SIGKILL; returns when it is gone
	Stop() error  // as it ends in production, by SIGTERM; returns when it is gone
	Ended() <-chan struct{}
	Tail() string // the last of what it printed
}

// Options of a run. Start and Token are needed; the zero value of each other field is the default named beside it.
type Options struct {
	Start func(context.Context) (Server, error)  // on the data directory of the one before; returns when it is ready
	Token func(user string) (string, error)      // signs a token; it must let publishers write to inboxes (user.>)
	Stats func(context.Context, Server) Counters // asked now and then, and it may fail; nil: nothing is known of the server's insides

	Seed     uint64
	Duration time.Duration // of faults; DefaultDuration
	Settle   time.Duration // bounds each step of coming to rest; DefaultSettle
	Plan     []Event       // nil: drawn from Seed
	Kills    int           // by SIGKILL; 0: one for each DefaultKillEvery, two at least

	Namespace  string
	Rate       float64 // messages published a second, about; DefaultRate
	Payload    int     // the largest body in bytes, about; DefaultPayload
	Channels   int     // DefaultChannels
	Publishers int     // clients, two or more; DefaultPublishers

	// Subscribers, each to every channel.
	Steady    int // suffer what the network does; DefaultSteady
	Stalling  int // also stop reading; DefaultStalling
	Vanishing int // also close, and come back; DefaultVanishing
	Passing   int // listen from now on for a while, again and again; DefaultPassing
	Browsing  int // read the history meanwhile; DefaultBrowsing
	Devices   int // durable sessions, which forget everything, are taken over, and acknowledge; DefaultDevices, negative: none
	Matching  int // subscribe to patterns; DefaultMatching, negative: none

	Trace    string       // a device, or a subscriber to patterns, of which Progress is told everything
	Progress func(string) // one line for people, now and then; nil: none
}

func (o *Options) setDefaults() {
	def(&o.Duration, DefaultDuration)
	def(&o.Settle, DefaultSettle)
	def(&o.Rate, DefaultRate)
	def(&o.Payload, DefaultPayload)
	def(&o.Channels, DefaultChannels)
	def(&o.Publishers, DefaultPublishers)
	def(&o.Steady, DefaultSteady)
	def(&o.Stalling, DefaultStalling)
	def(&o.Vanishing, DefaultVanishing)
	def(&o.Passing, DefaultPassing)
	def(&o.Browsing, DefaultBrowsing)
	if o.Devices == 0 {
		o.Devices = DefaultDevices
	}
	if o.Matching == 0 {
		o.Matching = DefaultMatching
	}
	def(&o.Kills, max(2, int(o.Duration/DefaultKillEvery)))
	o.Publishers = max(o.Publishers, 2)
	if o.Namespace == "" {
		o.Namespace = "soak"
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
}

func def[T int | float64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Errors that Run returns, besides those of the context and of Start.
var (
	ErrServerEnded = errors.New("soak: the server ended by itself")
)

// run is one run.
type run struct {
	o        Options
	oracle   *oracle.Oracle
	channels []string
	links    []*link // of each client, publishers first
	backend  backend
	parties  []*party
	gadgets  []*gadget
	server   *keeper
	failures failures
	faults   faultCounts

	publishers []*client.Client
	total      Counters // of clients that are gone; guarded by totalMu
	totalMu    sync.Mutex
}

// Run makes one run. The error says that it could not be made; what was found is in the report.
func Run(ctx context.Context, o Options) (*Report, error) {
	o.setDefaults()
	if o.Plan == nil {
		o.Plan = NewPlan(&o)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &run{o: o, oracle: oracle.New(oracle.Options{})}
	for i := range o.Channels {
		r.channels = append(r.channels, fmt.Sprintf("%s.room.%d", o.Namespace, i))
	}
	r.server = newKeeper(r, cancel)
	began := time.Now()
	err := r.all(ctx)
	err = errors.Join(err, r.server.close())
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	if err != nil {
		return nil, err
	}
	return r.report(time.Since(began)), nil
}

// all is the whole of it.
func (r *run) all(ctx context.Context) (err error) {
	if err := r.server.start(ctx); err != nil {
		return err
	}
	if err := r.openLinks(); err != nil {
		return err
	}
	defer r.closeLinks()
	defer r.closeClients()
	if err := r.join(ctx); err != nil {
		return err
	}
	for _, g := range r.gadgets {
		g.start(ctx)
	}
	r.o.Progress(fmt.Sprintf("seed %d: %d publishers, %d subscribers, %d faults in %v", r.o.Seed, len(r.publishers), len(r.parties)+len(r.gadgets), len(r.o.Plan), r.o.Duration))
	if err := r.storm(ctx); err != nil {
		return err
	}
	r.o.Progress("the faults are over; waiting until everything has arrived")
	if err := r.rest(ctx); err != nil {
		return err
	}
	r.settleDevices(ctx)
	return r.readAll(ctx)
}

func (r *run) settleDevices(ctx context.Context) {
	r.o.Progress("everything has arrived; the devices come back once more")
	var wg sync.WaitGroup
	for _, g := range r.gadgets {
		if g.durable {
			wg.Go(func() { g.settle(ctx) })
		}
	}
	wg.Wait()
}

func (r *run) gadget(name string) *gadget {
	for _, g := range r.gadgets {
		if g.name == name {
			return g
		}
	}
	return nil
}

// rng is a source of its own for each party, so that none depends on how the others are scheduled.
func (r *run) rng(party string, n int) *rand.Rand { return newRand(r.o.Seed, party, n) }

// join connects publishers and subscribers.
func (r *run) join(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.o.Settle, errors.New("soak: publishers and subscribers could not connect"))
	defer cancel()
	for i := range r.o.Publishers {
		c, err := r.dial(ctx, r.links[i], publisherUser(i))
		if err != nil {
			return err
		}
		r.publishers = append(r.publishers, c)
	}
	for _, p := range r.parties {
		if p.kind == passing {
			continue
		}
		if err := p.open(ctx); err != nil {
			return err
		}
	}
	return nil
}

// storm publishes and makes faults for the duration.
func (r *run) storm(ctx context.Context) error {
	publishing, stop := context.WithTimeout(ctx, r.o.Duration)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { r.publishAll(ctx, publishing) })
	for i := range r.o.Browsing {
		wg.Go(func() { r.browse(ctx, publishing, i) })
	}
	for _, p := range r.parties {
		if p.kind == passing {
			wg.Go(func() { p.pass(ctx, publishing) })
		}
	}
	r.play(ctx)
	stop()
	wg.Wait()
	return context.Cause(ctx)
}

const tellEvery = 3 * time.Second

// rest waits until each subscriber has got everything, or nothing comes any more.
func (r *run) rest(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last []oracle.Lag
	moved, told := time.Now(), time.Now()
	for {
		lags := r.oracle.Behind()
		if len(lags) == 0 {
			return nil
		}
		if !sameLags(lags, last) {
			last, moved = lags, time.Now()
		}
		if time.Since(told) > tellEvery {
			told = time.Now()
			for _, l := range lags[:min(len(lags), 3)] {
				r.o.Progress(fmt.Sprintf("%s is at %d of %d on %s; %d wait in all", l.Reader, l.At, l.Top, l.Channel, len(lags)))
			}
		}
		if time.Since(moved) > r.o.Settle/3 {
			for _, l := range lags {
				r.failures.add("%s is still at %d of %d on %s", l.Reader, l.At, l.Top, l.Channel)
			}
			return nil // the verdict names what is missing
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func sameLags(a, b []oracle.Lag) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// failures are what went wrong besides what the oracle names.
type failures struct {
	mu   sync.Mutex
	list []string
	more int
}

const mostFailures = 50

func (f *failures) add(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.list) == mostFailures {
		f.more++
		return
	}
	f.list = append(f.list, fmt.Sprintf(format, args...))
}

func (f *failures) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.more > 0 {
		return append(f.list, fmt.Sprintf("and %d more", f.more))
	}
	return f.list
}
