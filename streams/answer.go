package streams

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/puback"
	"github.com/jetwire/jetwire/streams/refusal"
)

// parseAck reads what JetStream answers to a message.
func parseAck(data []byte) (puback.Ack, error) {
	a, err := puback.Parse(data)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return puback.Ack{}, refused(api)
	}
	if err != nil {
		return puback.Ack{}, fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return a, nil
}

// refused maps the error codes of JetStream to the errors of this package.
func refused(e *jetstream.APIError) error {
	return refusal.Wrap(e, ErrStoreFull, ErrTooLarge, ErrUnavailable)
}

// sendError maps what nats.go says when a message cannot be sent.
func sendError(err error) error {
	if errors.Is(err, nats.ErrMaxPayload) {
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
