package bench

import (
	"context"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Defaults of Fanout.
const (
	DefaultFanoutConns = 5_000
	DefaultFanoutRate  = 50_000 // deliveries a second
	DefaultWindow      = 64     // messages
)

// Fanout has many sockets listen to one channel.
type Fanout struct {
	Load
	Conns   int      // DefaultFanoutConns
	Rate    float64  // deliveries a second, all sockets together; DefaultFanoutRate. The schedule does not wait for the server
	FlatOut bool     // instead: as fast as it goes with Window messages in flight
	Window  int      // DefaultWindow
	QoS     wire.QoS // of publishing and of the subscriptions
	Durable bool     // each socket is a device of a user of its own, which acknowledges what it gets. Its user's cursor stays behind
}

// Run measures fan-out.
func (o Fanout) Run(ctx context.Context) (*report.Report, error) {
	b := broadcast{
		load: o.withDefaults(), scenario: "fanout", channels: 1, members: o.Conns, publishers: 1,
		deliveries: o.Rate, window: o.Window, qos: o.QoS, durable: o.Durable,
	}
	if b.members <= 0 {
		b.members = DefaultFanoutConns
	}
	b.setPace(o.FlatOut, DefaultFanoutRate)
	return b.run(ctx)
}

// setPace fills in the defaults of rate and window.
func (b *broadcast) setPace(flatOut bool, rate float64) {
	if b.window <= 0 {
		b.window = DefaultWindow
	}
	if b.deliveries <= 0 {
		b.deliveries = rate
	}
	if flatOut {
		b.deliveries = 0
	}
}
