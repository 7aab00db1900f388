package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// rawStream is the name of the raw publisher's stream, and the first token of its subjects.
const rawStream = "RAW"

// RawPublisher is what a program that talks to JetStream itself would do: one connection, PublishMsgAsync, many in flight.
// Its stream is in the file store, with the limits of the gateway's default namespace left out.
type RawPublisher struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	failed atomic.Pointer[error]
}

// OpenRaw connects to a NATS server and makes the stream.
func OpenRaw(ctx context.Context, url string, inFlight int) (*RawPublisher, error) {
	nc, err := nats.Connect(url, nats.Name("jetbench raw"))
	if err != nil {
		return nil, err
	}
	p := &RawPublisher{nc: nc}
	if err := p.open(ctx, inFlight); err != nil {
		nc.Close()
		return nil, err
	}
	return p, nil
}

func (p *RawPublisher) open(ctx context.Context, inFlight int) (err error) {
	p.js, err = jetstream.New(p.nc, jetstream.WithPublishAsyncMaxPending(inFlight),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) { p.failed.CompareAndSwap(nil, &err) }))
	if err != nil {
		return err
	}
	_, err = p.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: rawStream, Subjects: []string{rawStream + ".>"}, Storage: jetstream.FileStorage, AllowDirect: true,
	})
	return err
}

// Close ends the connection.
func (p *RawPublisher) Close() { p.nc.Close() }

// Publish publishes to so many subjects in turn, and returns how many messages a second were acknowledged in d after the
// warm-up.
func (p *RawPublisher) Publish(ctx context.Context, subjects, payload int, warmup, d time.Duration) (float64, error) {
	names := make([]string, subjects)
	for i := range names {
		names[i] = rawStream + "." + strconv.Itoa(i)
	}
	var (
		sent atomic.Int64
		stop atomic.Bool
		fail error
		done sync.WaitGroup
	)
	done.Go(func() {
		for i := int64(0); !stop.Load(); i++ {
			msg := &nats.Msg{Subject: names[i%int64(subjects)], Data: appendPayload(nil, i, uint64(i)+1, payload)}
			if _, err := p.js.PublishMsgAsync(msg, jetstream.WithStallWait(5*time.Second)); err != nil {
				fail = err
				return
			}
			sent.Store(i + 1)
		}
	})
	acked := func() int64 { return sent.Load() - int64(p.js.PublishAsyncPending()) }
	err := sleep(ctx, warmup)
	began, from := time.Now(), acked()
	if err == nil {
		err = sleep(ctx, d)
	}
	rate := float64(acked()-from) / time.Since(began).Seconds()
	stop.Store(true)
	done.Wait()
	if err = errors.Join(err, fail); err != nil {
		return 0, err
	}
	select {
	case <-p.js.PublishAsyncComplete():
	case <-time.After(10 * time.Second):
		return 0, fmt.Errorf("%w: %d raw publishes were not acknowledged", ErrNoProgress, p.js.PublishAsyncPending())
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	if err := p.failed.Load(); err != nil {
		return 0, *err
	}
	return rate, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
