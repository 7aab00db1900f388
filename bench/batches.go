package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/bench/report"
)

// Ways are how messages can be published to JetStream so that each is answered.
var Ways = []string{"single", "fast", "atomic"}

// Batches publishes to a NATS server in one way: singly, each with an acknowledgement of its own, as a gateway does; by
// fast ingest, which acknowledges how far a flow has been stored, but neither a message's sequence nor that it is a
// duplicate; or in atomic batches of all that waits, which are refused as a whole.
type Batches struct {
	URL      string
	PIDs     []int // of the servers
	Way      string
	InFlight int // publishers that wait
	Payload  int
	Replicas int
	Warmup   time.Duration
	Duration time.Duration
}

// BatchReport is what one run of Batches measured.
type BatchReport struct {
	Way       string         `json:"way"`
	InFlight  int            `json:"in_flight"`
	Payload   int            `json:"payload_bytes"`
	Published report.Figure  `json:"published_per_second"`
	Latency   report.Latency `json:"latency_us"`
	CPUClient report.Figure  `json:"client_cpu_us_per_message"`
	CPUServer report.Figure  `json:"server_cpu_us_per_message"` // of all servers together
}

// Text returns the report as one line.
func (r *BatchReport) Text() string {
	return fmt.Sprintf("%-6s %5d waiting, %5d B: %8s/s, client %6s µs, servers %7s µs each; %s", r.Way, r.InFlight, r.Payload,
		r.Published.Text(0), r.CPUClient.Text(2), r.CPUServer.Text(2), r.Latency.Text())
}

const (
	batchStream  = "BATCHES"
	batchMost    = 1000 // messages of an atomic batch
	batchFlow    = 100  // messages that fast ingest acknowledges together
	batchFlights = 16   // atomic batches on their way
)

var errAnswer = errors.New("bench: JetStream refused a message")

// batchRun is a run of Batches.
type batchRun struct {
	o      *Batches
	nc     *nats.Conn
	prefix string // of replies
	names  []string
	body   []byte
	places chan int // that are free; a message in flight has one
	failed chan error

	sentAt   []atomic.Int64 // by place
	answered atomic.Uint64
	mu       sync.Mutex
	hist     report.Histogram
	from     atomic.Int64 // latencies count from then on

	// Of fast ingest: places in the order of the flow.
	flow []int
	done uint64
	// Of atomic batches: places, by batch.
	flights map[string][]int
	slots   chan struct{}
}

// Run publishes with so many messages in flight, for so long.
func (o Batches) Run(ctx context.Context) (*BatchReport, error) {
	nc, err := nats.Connect(o.URL, nats.Name("jetbench batches"))
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	r := &batchRun{o: &o, nc: nc, prefix: nc.NewInbox() + ".", places: make(chan int, o.InFlight), failed: make(chan error, 1),
		body: make([]byte, o.Payload), sentAt: make([]atomic.Int64, o.InFlight), hist: report.NewHistogram(),
		flights: map[string][]int{}, slots: make(chan struct{}, batchFlights)}
	r.from.Store(1 << 62)
	for i := range o.InFlight {
		r.places <- i
	}
	for i := range 100 {
		r.names = append(r.names, batchStream+"."+strconv.Itoa(i))
	}
	if err := r.makeStream(ctx); err != nil {
		return nil, err
	}
	send, onAnswer := r.single, r.onSingle
	switch o.Way {
	case "fast":
		send, onAnswer = r.fast, r.onFast
	case "atomic":
		send, onAnswer = r.atomic, r.onAtomic
	}
	sub, err := nc.Subscribe(r.prefix+">", onAnswer)
	if err != nil {
		return nil, err
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, err
	}
	sending, stop := context.WithCancel(ctx)
	var sender sync.WaitGroup
	sender.Go(func() {
		if err := send(sending); err != nil {
			r.fail(err)
		}
	})
	defer sender.Wait()
	defer stop()
	return r.measure(ctx)
}

// makeStream makes the stream anew.
func (r *batchRun) makeStream(ctx context.Context) error {
	js, err := jetstream.New(r.nc)
	if err != nil {
		return err
	}
	if err := js.DeleteStream(ctx, batchStream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	if _, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: batchStream, Subjects: []string{batchStream + ".>"}, Replicas: max(r.o.Replicas, 1), AllowDirect: true,
		AllowAtomicPublish: r.o.Way == "atomic", AllowBatchPublish: r.o.Way == "fast",
	}); err != nil {
		return err
	}
	// In a cluster a new stream takes a moment until every server knows where it is.
	_, err = js.Publish(ctx, r.names[0], nil, jetstream.WithRetryWait(20*time.Millisecond), jetstream.WithRetryAttempts(250))
	return err
}

func (r *batchRun) fail(err error) {
	select {
	case r.failed <- err:
	default:
	}
}

func (r *batchRun) servers() (sum time.Duration) {
	for _, pid := range r.o.PIDs {
		if d, err := processorTime(pid); err == nil {
			sum += d
		}
	}
	return sum
}

func (r *batchRun) measure(ctx context.Context) (*BatchReport, error) {
	pause := func(d time.Duration) error {
		select {
		case err := <-r.failed:
			return err
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := pause(r.o.Warmup); err != nil {
		return nil, err
	}
	began, n, servers := time.Now(), r.answered.Load(), r.servers()
	client, _ := cpuClock(0)
	r.from.Store(began.UnixNano())
	if err := pause(r.o.Duration); err != nil {
		return nil, err
	}
	after, _ := cpuClock(0)
	n, servers = r.answered.Load()-n, r.servers()-servers
	r.mu.Lock()
	defer r.mu.Unlock()
	return &BatchReport{
		Way: r.o.Way, InFlight: r.o.InFlight, Payload: r.o.Payload,
		Published: report.Figure(float64(n) / time.Since(began).Seconds()), Latency: r.hist.Latency(),
		CPUClient: report.Figure(after - client).Per(1e3 * float64(n)), CPUServer: report.Figure(servers).Per(1e3 * float64(n)),
	}, nil
}

// place waits for a free one. Several that are taken at once share a look at the clock.
func (r *batchRun) place(ctx context.Context) (int, error) {
	select {
	case p := <-r.places:
		return p, nil
	default:
	}
	select {
	case p := <-r.places:
		return p, nil
	case <-ctx.Done():
		return 0, context.Canceled
	}
}

// answer takes note that a message was answered, and frees its place.
func (r *batchRun) answer(place int, now int64) {
	sent := r.sentAt[place].Load()
	if sent >= r.from.Load() {
		r.mu.Lock()
		r.hist.Record(now - sent)
		r.mu.Unlock()
	}
	r.answered.Add(1)
	r.places <- place
}

// stopped is nil when a sender was told to stop.
func stopped(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (r *batchRun) single(ctx context.Context) error {
	replies := make([]string, len(r.sentAt))
	for i := range replies {
		replies[i] = r.prefix + strconv.Itoa(i)
	}
	for i := 0; ; i++ {
		p, err := r.place(ctx)
		if err != nil {
			return stopped(err)
		}
		r.sentAt[p].Store(time.Now().UnixNano())
		if err := r.nc.PublishMsg(&nats.Msg{Subject: r.names[i%len(r.names)], Reply: replies[p], Data: r.body}); err != nil {
			return err
		}
	}
}

func (r *batchRun) onSingle(m *nats.Msg) {
	p, err := strconv.Atoi(m.Subject[len(r.prefix):])
	if err != nil || !stored(m.Data) {
		r.fail(fmt.Errorf("%w: %s", errAnswer, m.Data))
		return
	}
	r.answer(p, time.Now().UnixNano())
}

// stored reports whether an answer names a sequence.
func stored(answer []byte) bool { return strings.Contains(string(answer), `"seq":`) }

// fast publishes one endless flow.
func (r *batchRun) fast(ctx context.Context) error {
	const start, next = "0", "1" // the operation in a reply subject
	most := max(1, min(batchFlow, r.o.InFlight/4))
	head := r.prefix + "1." + strconv.Itoa(most) + ".ok."
	for i := uint64(1); ; i++ {
		p, err := r.place(ctx)
		if err != nil {
			return stopped(err)
		}
		r.sentAt[p].Store(time.Now().UnixNano())
		r.mu.Lock()
		r.flow = append(r.flow, p)
		r.mu.Unlock()
		op := next
		if i == 1 {
			op = start
		}
		m := &nats.Msg{Subject: r.names[i%uint64(len(r.names))], Reply: head + strconv.FormatUint(i, 10) + "." + op + ".$FI", Data: r.body}
		if err := r.nc.PublishMsg(m); err != nil {
			return err
		}
	}
}

func (r *batchRun) onFast(m *nats.Msg) {
	var a struct {
		Type string `json:"type"`
		Seq  uint64 `json:"seq"`
	}
	if err := json.Unmarshal(m.Data, &a); err != nil || a.Type != "ack" {
		r.fail(fmt.Errorf("%w: %s", errAnswer, m.Data))
		return
	}
	r.mu.Lock()
	n := max(a.Seq, r.done) - r.done
	places := r.flow[:n]
	r.flow, r.done = r.flow[n:], r.done+n
	r.mu.Unlock()
	now := time.Now().UnixNano()
	for _, p := range places {
		r.answer(p, now)
	}
}

// atomic publishes what waits, as soon as a batch may be on its way.
func (r *batchRun) atomic(ctx context.Context) error {
	for i := 0; ; {
		select {
		case r.slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		p, err := r.place(ctx)
		if err != nil {
			return stopped(err)
		}
		batch := []int{p}
		for more := true; more && len(batch) < batchMost; {
			select {
			case p := <-r.places:
				batch = append(batch, p)
			default:
				more = false
			}
		}
		id := strconv.Itoa(i)
		r.mu.Lock()
		r.flights[id] = batch
		r.mu.Unlock()
		now := time.Now().UnixNano()
		for n, p := range batch {
			r.sentAt[p].Store(now)
			m := &nats.Msg{Subject: r.names[i%len(r.names)], Data: r.body}
			if i++; len(batch) > 1 {
				m.Header = nats.Header{"Nats-Batch-Id": {id}, "Nats-Batch-Sequence": {strconv.Itoa(n + 1)}}
			}
			if n == len(batch)-1 {
				m.Reply = r.prefix + id
				if m.Header != nil {
					m.Header["Nats-Batch-Commit"] = []string{"1"}
				}
			}
			if err := r.nc.PublishMsg(m); err != nil {
				return err
			}
		}
	}
}

func (r *batchRun) onAtomic(m *nats.Msg) {
	if !stored(m.Data) {
		r.fail(fmt.Errorf("%w: %s", errAnswer, m.Data))
		return
	}
	id := m.Subject[len(r.prefix):]
	r.mu.Lock()
	places := r.flights[id]
	delete(r.flights, id)
	r.mu.Unlock()
	now := time.Now().UnixNano()
	for _, p := range places {
		r.answer(p, now)
	}
	<-r.slots
}

// WaitForJetStream asks a NATS server until its JetStream answers: a cluster has to elect a leader first.
func WaitForJetStream(ctx context.Context, url string) error {
	nc, err := nats.Connect(url, nats.Name("jetbench"))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		asking, cancel := context.WithTimeout(ctx, time.Second) // without a leader nobody answers
		_, err = js.AccountInfo(asking)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%w: JetStream: %w", ErrNoProgress, err)
		}
	}
}
