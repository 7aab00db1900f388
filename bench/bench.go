// Package bench measures a Jetwire server from outside: it opens many sockets, publishes, and reports what each
// connection and each delivery cost the server, how long deliveries took, and whether any was lost, came twice or came
// out of order. Each scenario has a file and an options struct of its own, whose zero value works.
//
// Invariants:
//   - The client is epoll-based, with a few loops and no goroutine, timer or buffer for an idle socket, so that it does not
//     drown what it measures; a report says when the client was the bottleneck all the same.
//   - Latency counts from the time at which a message was meant to be sent. A publisher that falls behind makes its
//     messages late, never fewer: coordinated omission cannot hide a stall.
//   - What is counted as lost, duplicated or reordered is judged for each socket by a counter in the payload, which the
//     server does not read, and checked against seq and prev.
//   - Nothing is taken from the server under test but what any user can see: its sockets, /metrics and /proc.
//
// It must not know the server's insides: of Jetwire's packages it imports wire, poll, and wsock for the client's side of
// the handshake and of masking. It splits the server's frames by itself, without a look at the text in them: checking
// UTF-8 once more for each of millions of deliveries would take the cores that the server needs.
package bench

import (
	"context"
	"errors"
	"time"

	"github.com/jetwire/jetwire/bench/report"
)

// Errors that Run functions return, besides those of the system and of the context.
var (
	ErrUnsupported = errors.New("bench: the load client needs Linux (epoll)")
	ErrFiles       = errors.New("bench: too few file descriptors")
	ErrPorts       = errors.New("bench: too few local ports")
	ErrJoin        = errors.New("bench: a connection could not join")
	ErrNoProgress  = errors.New("bench: the server stopped answering")
	ErrTarget      = errors.New("bench: unusable address")
)

// Defaults of what all scenarios share.
const (
	DefaultDuration = 10 * time.Second
	DefaultWarmup   = time.Second
	DefaultDrain    = 3 * time.Second
	DefaultPayload  = 128 // bytes
	DefaultChannel  = "bench"
)

// Load is what all scenarios share.
type Load struct {
	Target *Target

	Duration  time.Duration // of what is measured; DefaultDuration
	Warmup    time.Duration // before it, not measured; DefaultWarmup; negative: none
	Drain     time.Duration // how long nothing may arrive before the rest counts as lost; DefaultDrain
	Ramp      time.Duration // before the warm-up: the rate, or the window, rises from nothing; of idle: over which a step's connections are spread
	Payload   Sizes         // of messages' bodies; DefaultPayload
	Namespace string        // of the channels used; DefaultChannel
	Loops     int           // epoll loops of the subscribers; half the cores, at least 1
	Ahead     int           // sockets that one loop opens at the same time; 32
	Sources   int           // loopback source addresses; 0: as many as the ports demand
	Processes int           // load processes that hold the subscribers' sockets, beside this one, where a scenario allows; as many as their files demand, if that is more. 0: none
	Worker    []string      // program and arguments of a load process: it calls Work; nil: there can be none
	OneByOne  bool          // await connect's reply before subscribing, instead of sending both in one frame

	Progress func(string)       // one line for people, now and then; may be nil
	Second   func(report.Point) // told once a second how it goes; may be nil

	// Measuring is told when a scenario begins to measure for a known time; may be nil. It must not block.
	Measuring func(time.Duration)

	gather  func(context.Context) error // has the scenarios of a mixed run begin together; nil: there is only one
	sampler *sampler
	every   time.Duration // a sample is taken; sampleEvery
}

// ready is called when all is connected, before anything is measured.
func (l *Load) ready(ctx context.Context) error {
	if l.gather == nil {
		return nil
	}
	return l.gather(ctx)
}

// report begins a scenario's report; watch completes it.
func (l *Load) report(scenario string) *report.Report {
	r := report.New(scenario, l.Payload.Mean())
	r.Sizes, r.Ramp = l.Payload.String(), report.Figure(l.Ramp.Seconds())
	if gates := l.Target.all(); len(gates) > 1 {
		for _, t := range gates {
			r.Gateways = append(r.Gateways, t.URL)
		}
	}
	return r
}

func (l Load) withDefaults() Load {
	if l.Duration <= 0 {
		l.Duration = DefaultDuration
	}
	if l.Warmup == 0 {
		l.Warmup = DefaultWarmup
	}
	l.Warmup = max(l.Warmup, 0)
	if l.Drain <= 0 {
		l.Drain = DefaultDrain
	}
	l.Ramp = max(l.Ramp, 0)
	if l.Payload.total == 0 {
		l.Payload = Bytes(DefaultPayload)
	}
	if l.Namespace == "" {
		l.Namespace = DefaultChannel
	}
	if l.Ahead <= 0 {
		l.Ahead = 32
	}
	if l.Measuring == nil {
		l.Measuring = func(time.Duration) {}
	}
	if l.every <= 0 {
		l.every = sampleEvery
	}
	if l.sampler == nil {
		l.sampler = newSampler(l.Progress, l.Second, l.every)
		l.Progress = l.sampler.say
	}
	return l
}
