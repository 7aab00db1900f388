package gateway

import (
	"github.com/jetwire/jetwire/gateway/session"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/devices"
)

// holder is a session as the store of devices sees it, and device the other way round.
type (
	holder struct{ session.Holder }
	device struct{ *devices.Device }
)

func (h holder) Positions() []devices.Position {
	var ps []devices.Position
	for _, p := range h.Holder.Positions() {
		ps = append(ps, devices.Position{Channel: p.Channel, QoS: uint8(p.QoS), Epoch: p.Epoch, Seq: p.Seq})
	}
	return ps
}

func (d device) Store(done func(error)) {
	d.Device.Store(func(err error) {
		if err != nil {
			err = wireError(err)
		}
		done(err)
	})
}

func (b *broker) Take(user, id, name string, h session.Holder, done func(session.Device, session.Record, error)) {
	b.devices.Take(user, id, name, holder{h}, func(d *devices.Device, was devices.Record, err error) {
		if err != nil {
			done(nil, session.Record{}, wireError(err))
			return
		}
		r := session.Record{Found: was.Found}
		for _, p := range was.Positions {
			r.Positions = append(r.Positions, session.Position{Channel: p.Channel, QoS: wire.QoS(p.QoS), Epoch: p.Epoch, Seq: p.Seq})
		}
		done(device{d}, r, nil)
	})
}
