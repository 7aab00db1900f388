package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
)

// serve answers the calls and handles the commands of billing until ctx ends. It needs nothing of Jetwire's.
func serve(ctx context.Context, nc *nats.Conn) error {
	// Calls: a request that is answered, by whichever of the running backends gets it.
	svc, err := micro.AddService(nc, micro.Config{Name: "billing", Version: "1.0.0"})
	if err != nil {
		return err
	}
	defer func() { _ = svc.Stop() }()
	quote := func(r micro.Request) {
		var order struct{ Order int }
		if err := json.Unmarshal(r.Data(), &order); err != nil || order.Order == 0 {
			_ = r.Error("404", "no such order", nil) // the client gets: refused, "404: no such order"
			return
		}
		_ = r.RespondJSON(map[string]any{"price": 12, "for": r.Headers().Get("Jw-From")})
	}
	if err := svc.AddEndpoint("quote", micro.HandlerFunc(quote), micro.WithEndpointSubject("jetwire.call.billing.quote")); err != nil {
		return err
	}

	// Commands: a durable consumer, which all running backends share.
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	consumer, err := js.CreateOrUpdateConsumer(ctx, "jetwire_commands", jetstream.ConsumerConfig{
		Durable:       "billing",
		FilterSubject: "jetwire.command.billing.>",
		AckPolicy:     jetstream.AckExplicitPolicy,
		BackOff:       []time.Duration{time.Second, 10 * time.Second, time.Minute}, // before it comes again
		MaxDeliver:    4,                                                           // then it becomes a dead letter
	})
	if err != nil {
		return err
	}
	work, err := consumer.Consume(func(m jetstream.Msg) {
		var unwanted *unwantedError
		switch err := handle(m.Headers().Get("Jw-From"), m.Headers().Get("Jw-Id"), m.Data()); {
		case err == nil:
			err = m.DoubleAck(ctx) // it is done; were this lost, it would come again
			if err != nil {
				log.Print(err)
			}
		case errors.As(err, &unwanted):
			if err := giveUp(ctx, js, m, unwanted.why); err != nil {
				log.Print(err) // it comes again
			}
		default:
			log.Print(err) // without an ack it comes again, after the back-off
		}
	})
	if err != nil {
		return err
	}
	<-ctx.Done()
	work.Drain() // what has been taken is still handled
	<-work.Closed()
	return nil
}

// unwantedError says that a command will never be done.
type unwantedError struct{ why string }

func (e *unwantedError) Error() string { return e.why }

// handle does what the command asks for. It may be asked again for what it has done already: from and id name the command.
func handle(from, id string, body []byte) error {
	var order struct{ Order int }
	if json.Unmarshal(body, &order) != nil || order.Order == 0 {
		return &unwantedError{"no such order"}
	}
	log.Printf("refund %d for %s (%s)", order.Order, from, id)
	return nil
}

// giveUp puts a command among the dead letters at once.
func giveUp(ctx context.Context, js jetstream.JetStream, m jetstream.Msg, why string) error {
	letter := nats.NewMsg(strings.Replace(m.Subject(), "jetwire.", "jetwire.dead.", 1))
	letter.Data = m.Data()
	letter.Header.Set("Jw-From", m.Headers().Get("Jw-From"))
	letter.Header.Set("Jw-Id", m.Headers().Get("Jw-Id"))
	letter.Header.Set("Jw-Dead-Reason", why)
	if _, err := js.PublishMsg(ctx, letter); err != nil {
		return err
	}
	return m.DoubleAck(ctx)
}
