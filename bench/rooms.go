package bench

import (
	"context"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Defaults of Rooms.
const (
	DefaultRooms          = 1_000
	DefaultRoomMembers    = 10
	DefaultRoomsRate      = 20_000 // deliveries a second
	DefaultRoomPublishers = 10
)

// Rooms has few sockets on each of many channels.
type Rooms struct {
	Load
	Rooms      int      // DefaultRooms
	Members    int      // sockets in each; DefaultRoomMembers
	Publishers int      // sockets that publish, beside the members; DefaultRoomPublishers
	Rate       float64  // deliveries a second, all rooms together; DefaultRoomsRate
	FlatOut    bool     // instead: as fast as it goes with Window messages in flight
	Window     int      // over all rooms; DefaultWindow
	QoS        wire.QoS // of publishing and of the subscriptions
	Durable    bool     // each socket is a device of a user of its own, which acknowledges what it gets. Its user's cursor stays behind
}

// Run measures rooms.
func (o Rooms) Run(ctx context.Context) (*report.Report, error) {
	b := broadcast{
		load: o.withDefaults(), scenario: "rooms", channels: o.Rooms, members: o.Members, publishers: o.Publishers,
		deliveries: o.Rate, window: o.Window, qos: o.QoS, durable: o.Durable,
	}
	if b.channels <= 0 {
		b.channels = DefaultRooms
	}
	if b.members <= 0 {
		b.members = DefaultRoomMembers
	}
	if b.publishers <= 0 {
		b.publishers = DefaultRoomPublishers
	}
	b.setPace(o.FlatOut, DefaultRoomsRate)
	return b.run(ctx)
}
