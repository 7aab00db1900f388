package soak

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/jetwire/jetwire/bench/oracle"
	"github.com/jetwire/jetwire/gateway/client"
)

// How clients come back: soon, so that a run has many reconnects.
const (
	backoffMin   = 20 * time.Millisecond
	backoffMax   = 500 * time.Millisecond
	replyTimeout = 5 * time.Second
	workers      = 8  // goroutines that publish over one client
	inboxShare   = 10 // one message in so many is for the inbox of a device
	publishLimit = 60 * time.Second
	retryLimit   = 30 * time.Second // with publishLimit within the server's dedup window of two minutes
)

func publisherName(i int) string { return fmt.Sprintf("publisher-%d", i) }

// publisherUser makes two clients one user, so that one can try again what the other has sent.
func publisherUser(i int) string { return fmt.Sprintf("publisher-%d", i/2) }

func (r *run) openLinks() error {
	var names []string
	for i := range r.o.Publishers {
		names = append(names, publisherName(i))
	}
	for _, k := range kinds {
		for i := range k.count(&r.o) {
			names = append(names, k.name(i))
		}
	}
	for _, name := range names {
		l, err := newLink(name, &r.backend)
		if err != nil {
			r.closeLinks()
			return err
		}
		r.links = append(r.links, l)
	}
	at := r.o.Publishers
	for _, k := range kinds {
		for i := range k.count(&r.o) {
			if k == durable || k == matching {
				r.gadgets = append(r.gadgets, newGadget(r, k, i, r.links[at]))
			} else {
				r.parties = append(r.parties, newParty(r, k, i, r.links[at]))
			}
			at++
		}
	}
	return nil
}

func (r *run) closeLinks() {
	for _, l := range r.links {
		l.close()
	}
}

func (r *run) closeClients() {
	for _, l := range r.links { // so that goodbyes get through
		l.up.open()
		l.down.open()
	}
	var wg sync.WaitGroup
	for _, c := range r.publishers {
		wg.Go(func() { r.hangUp(c) })
	}
	for _, p := range r.parties {
		wg.Go(p.close)
	}
	for _, g := range r.gadgets {
		wg.Go(g.stop)
	}
	wg.Wait()
}

// dial connects a client over a link.
func (r *run) dial(ctx context.Context, l *link, user string) (*client.Client, error) {
	return client.Dial(ctx, client.Options{
		URL:        "ws://" + l.addr() + "/ws",
		Name:       "jetbench soak " + l.name,
		Token:      func(context.Context) (string, error) { return r.o.Token(user) },
		BackoffMin: backoffMin, BackoffMax: backoffMax, ReplyTimeout: replyTimeout,
		Logger: slog.New(slog.NewTextHandler(progress(r.o.Progress), &slog.HandlerOptions{Level: slog.LevelWarn})).With("client", l.name),
	})
}

// progress is a logger's writer.
type progress func(string)

func (p progress) Write(line []byte) (int, error) {
	p(strings.TrimRight(string(line), "\n"))
	return len(line), nil
}

// hangUp closes a client and keeps its counters.
func (r *run) hangUp(c *client.Client) {
	if err := c.Err(); err != nil {
		r.failures.add("a client ended by itself: %v", err)
	}
	_ = c.Close()
	s := c.Stats()
	r.totalMu.Lock()
	defer r.totalMu.Unlock()
	r.total.add(Counters{Reconnects: s.Connects - min(s.Connects, 1), Retries: s.Retries, Repairs: s.Repairs, Sheds: s.Sheds, Redelivered: s.Duplicates})
}

// publishAll publishes until publishing ends, and waits for every answer.
func (r *run) publishAll(ctx, publishing context.Context) {
	var wg sync.WaitGroup
	n := len(r.publishers) * workers
	for i := range n {
		wg.Go(func() {
			w := &worker{r: r, n: i, rng: r.rng("worker", i), pause: time.Duration(float64(n) / r.o.Rate * float64(time.Second))}
			for sleep(publishing, rand1(w.rng, 2*w.pause)) {
				w.publish(ctx)
			}
		})
	}
	wg.Wait()
}

func rand1(r *rand.Rand, d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d) + 1)) }

// worker publishes one message after the other.
type worker struct {
	r     *run
	n     int
	sent  int
	rng   *rand.Rand
	pause time.Duration
	buf   []byte
}

func (w *worker) publish(ctx context.Context) {
	r := w.r
	w.sent++
	own := w.n % len(r.publishers)
	channel, user := r.channels[w.rng.IntN(len(r.channels))], publisherUser(own)
	if n := max(0, r.o.Devices); n > 0 && w.rng.IntN(inboxShare) == 0 {
		channel = inbox(durable.name(w.rng.IntN(n)))
	}
	id := fmt.Sprintf("%d-%d", w.n, w.sent)
	size := w.rng.IntN(r.o.Payload)
	w.buf = oracle.AppendBody(w.buf[:0], channel, user, id, size, oracle.Form(w.rng.IntN(int(oracle.Forms))))
	limit := publishLimit
	kind := w.rng.IntN(100)
	impatience := time.Millisecond << w.rng.IntN(9)
	if kind < 4 {
		limit = impatience
	}
	send := func(c *client.Client, a *oracle.Attempt, limit time.Duration) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		reply, err := c.Publish(ctx, channel, w.buf, client.PublishOptions{ID: id, QoS: client.ExactlyOnce})
		r.answered(a, reply, err)
	}
	first := r.oracle.Publishing(channel, user, id)
	switch other := own ^ 1; {
	case other >= len(r.publishers) || kind < 92:
		send(r.publishers[own], first, limit)
	case kind < 96: // again, once it was answered
		again := r.oracle.Publishing(channel, user, id)
		send(r.publishers[own], first, limit)
		send(r.publishers[other], again, retryLimit)
	default: // twice at the same time
		again := r.oracle.Publishing(channel, user, id)
		var wg sync.WaitGroup
		wg.Go(func() { send(r.publishers[other], again, retryLimit) })
		send(r.publishers[own], first, limit)
		wg.Wait()
	}
}

// answered tells the oracle how a publish ended.
func (r *run) answered(a *oracle.Attempt, reply client.PublishReply, err error) {
	switch {
	case err == nil:
		a.Acknowledged(oracle.Ack{Seq: reply.Seq, Epoch: reply.Epoch, Duplicate: reply.Duplicate})
	case errors.Is(err, client.ErrOutcomeUnknown):
		a.Unknown()
	default: // the client's promise: nothing was stored
		a.Refused()
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			r.failures.add("a publish was refused: %v", err)
		}
	}
}
