package api

import (
	"context"
	"fmt"

	"github.com/jetwire/jetwire/gateway/wire"
)

// DisconnectRequest ends connections on all gateways: those of a user, or one session. It holds nobody off: see revoke.
type DisconnectRequest struct {
	User      string `json:"user,omitzero"`
	Session   string `json:"session,omitzero"`
	Reconnect bool   `json:"reconnect,omitzero"` // the client is asked to connect anew
}

// DisconnectReply says how many connections were ended.
type DisconnectReply struct {
	Disconnected int `json:"disconnected"`
}

// maxSession bounds the length of a session's id in a request.
const maxSession = 64

func (q *DisconnectRequest) check() error {
	switch {
	case (q.User == "") == (q.Session == ""):
		return wire.BadRequest.With("name either a user or a session")
	case len(q.Session) > maxSession:
		return wire.BadRequest.With(fmt.Sprintf("session is longer than %d bytes", maxSession))
	case q.User != "":
		return checkUser(q.User)
	}
	return nil
}

func (a *API) disconnect(ctx context.Context, c Caller, q *DisconnectRequest) (DisconnectReply, error) {
	met, unanswered, err := a.opt.Cluster.Disconnect(ctx, *q)
	a.opt.Logger.Info("disconnect", "key", c.Name, "user", q.User, "session", q.Session, "reconnect", q.Reconnect, "connections", met, "unanswered", unanswered)
	return DisconnectReply{met}, partly(met, unanswered, err)
}

// partly is the error of what some gateways have done and some perhaps not.
func partly(met, unanswered int, err error) error {
	if err != nil || unanswered == 0 {
		return err
	}
	return wire.Timeout.With(fmt.Sprintf("%d of the gateways did not answer in time; the others met %d connections: ask again", unanswered, met))
}
