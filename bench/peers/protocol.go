package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// subprotocol is Jetwire's, of which the load needs a small part.
const subprotocol = "jetwire.v1.json"

// maxMessage is the largest message that the Go peers take, in bytes.
const maxMessage = 1 << 20

// command is one command of Jetwire's protocol.
type command struct {
	ID          uint64           `json:"id"`
	Connect     *struct{}        `json:"connect"`
	Subscribe   *subscription    `json:"subscribe"`
	Unsubscribe *subscription    `json:"unsubscribe"`
	Publish     *publication     `json:"publish"`
	Ping        *json.RawMessage `json:"ping"`
}

type subscription struct {
	Channel string `json:"channel"`
}

type publication struct {
	Channel string          `json:"channel"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// reply answers a command, or pushes a message.
type reply struct {
	ID          uint64        `json:"id,omitempty"`
	Connect     *session      `json:"connect,omitempty"`
	Subscribe   *subscription `json:"subscribe,omitempty"`
	Unsubscribe *subscription `json:"unsubscribe,omitempty"`
	Publish     *publication  `json:"publish,omitempty"`
	Ping        *struct{}     `json:"ping,omitempty"`
	Message     *publication  `json:"message,omitempty"`
}

type session struct {
	Session string `json:"session"`
	User    string `json:"user"`
}

var errCommand = errors.New("no such command")

// receive carries out the commands of one text, and returns the answers.
func (h *hub) receive(c *client, text []byte) ([]byte, error) {
	var answers []byte
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		var cmd command
		switch err := d.Decode(&cmd); {
		case errors.Is(err, io.EOF):
			return answers, nil
		case err != nil:
			return nil, err
		}
		answer, err := h.carryOut(c, &cmd)
		if err != nil {
			return nil, err
		}
		if cmd.ID == 0 {
			continue
		}
		answer.ID = cmd.ID
		answers = append(answers, encode(answer)...)
	}
}

func (h *hub) carryOut(c *client, cmd *command) (reply, error) {
	switch {
	case cmd.Connect != nil:
		return reply{Connect: &session{Session: "peer", User: "bench"}}, nil
	case cmd.Subscribe != nil:
		h.subscribe(c, cmd.Subscribe.Channel)
		return reply{Subscribe: cmd.Subscribe}, nil
	case cmd.Unsubscribe != nil:
		h.unsubscribe(c, cmd.Unsubscribe.Channel)
		return reply{Unsubscribe: cmd.Unsubscribe}, nil
	case cmd.Publish != nil:
		h.publish(cmd.Publish.Channel, encode(reply{Message: cmd.Publish}))
		return reply{Publish: &publication{Channel: cmd.Publish.Channel}}, nil
	case cmd.Ping != nil:
		return reply{Ping: &struct{}{}}, nil
	}
	return reply{}, fmt.Errorf("%w: %+v", errCommand, cmd)
}

func encode(r reply) []byte {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings, numbers and JSON that was decoded: there is always an encoding
	}
	return text
}
