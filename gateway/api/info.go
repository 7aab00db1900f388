package api

import (
	"context"
	"time"
)

// InfoRequest asks what runs where.
type InfoRequest struct{}

// InfoReply says what runs where.
type InfoReply struct {
	Gateway     string    `json:"gateway"`     // the id of the one that answers
	Connections int       `json:"connections"` // of all gateways
	Gateways    []Gateway `json:"gateways"`
	Streams     []Stream  `json:"streams"` // those that the answering gateway has open
}

// Gateway is one running gateway.
type Gateway struct {
	ID          string    `json:"id"` // new for each process
	Name        string    `json:"name,omitzero"`
	Version     string    `json:"version,omitzero"`
	Address     string    `json:"address,omitzero"`
	Started     time.Time `json:"started"`
	Connections int       `json:"connections"`
}

// Stream is the log of a namespace.
type Stream struct {
	Namespace  string `json:"namespace"`
	Epoch      string `json:"epoch"`
	Seq        uint64 `json:"seq"` // of the newest message; 0: there was none yet
	Durability string `json:"durability"`
}

func (a *API) info(ctx context.Context, _ Caller, _ *InfoRequest) (InfoReply, error) {
	return a.opt.Cluster.Info(ctx)
}
