package bench

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// devicesStream is the stream of the KV bucket that holds durable sessions.
const devicesStream = "KV_jetwire_devices"

// Store looks at a server's JetStream, as any NATS client can.
type Store struct {
	nc *nats.Conn
	js jetstream.JetStream
}

// OpenStore connects to the NATS server behind the one under test.
func OpenStore(url, user, password string) (*Store, error) {
	nc, err := nats.Connect(url, nats.Name("jetbench store"), nats.UserInfo(user, password))
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &Store{nc, js}, nil
}

// Close ends the connection.
func (s *Store) Close() { s.nc.Close() }

// storeState is what a store holds.
type storeState struct {
	records, bytes uint64 // of durable sessions, as the stream's state says: headers and subjects included
	consumers      int    // of the account
}

func (s *Store) state(ctx context.Context) (x storeState, err error) {
	account, err := s.js.AccountInfo(ctx)
	if err != nil {
		return x, err
	}
	x.consumers = account.Consumers
	st, err := s.js.Stream(ctx, devicesStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return x, nil // no device has come yet
	}
	if err != nil {
		return x, err
	}
	x.records, x.bytes = st.CachedInfo().State.Msgs, st.CachedInfo().State.Bytes
	return x, nil
}
