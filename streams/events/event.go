package events

import (
	"encoding/json"
	"strconv"
	"strings"
)

// Stream is the stream's name, and Prefix what its subjects begin with: the kind of event comes next and, for Subscribe and Unsubscribe,
// the namespace.
const (
	Stream = "jetwire_events"
	Prefix = "jetwire.events."
)

// Kind says what has happened.
type Kind string

// The kinds. Lost is for all who want any.
const (
	Connect     Kind = "connect"
	Disconnect  Kind = "disconnect"
	Subscribe   Kind = "subscribe"
	Unsubscribe Kind = "unsubscribe"
	Lost        Kind = "lost"
)

// GatewayLost is the Reason of a Disconnect that another gateway tells, because the connection's own has died.
const GatewayLost = "gateway_lost"

// Event is one event as it is stored, in JSON. A field that the kind does not have is absent.
type Event struct {
	ID      string `json:"id"` // the same if it is stored again
	Kind    Kind   `json:"type"`
	Time    int64  `json:"time"` // when it happened, Unix milliseconds
	Gateway string `json:"gateway"`
	User    string `json:"user,omitempty"`
	Session string `json:"session,omitempty"`
	Device  string `json:"device,omitempty"`
	Client  string `json:"client,omitempty"`  // of Connect: what the client calls itself
	Again   bool   `json:"again,omitempty"`   // of Connect: its Disconnect was told, wrongly; it is there
	Channel string `json:"channel,omitempty"` // or pattern, of Subscribe and Unsubscribe
	Code    int    `json:"code,omitempty"`    // of Disconnect: WebSocket close code; absent if Reason is GatewayLost
	Reason  string `json:"reason,omitempty"`  // of Disconnect
	Count   uint64 `json:"count,omitempty"`   // of Lost: events
}

func (e *Event) subject() string {
	s := Prefix + string(e.Kind)
	if e.Channel != "" {
		namespace, _, _ := strings.Cut(e.Channel, ".")
		s += "." + namespace
	}
	return s
}

// Subjects returns what a reader of some kinds filters by; namespaces restrict Subscribe and Unsubscribe, none: all.
func Subjects(kinds []Kind, namespaces []string) []string {
	subjects := []string{Prefix + string(Lost)}
	for _, k := range kinds {
		switch {
		case k != Subscribe && k != Unsubscribe:
			subjects = append(subjects, Prefix+string(k))
		case len(namespaces) == 0:
			subjects = append(subjects, Prefix+string(k)+".*")
		default:
			for _, ns := range namespaces {
				subjects = append(subjects, Prefix+string(k)+"."+ns)
			}
		}
	}
	return subjects
}

// Connection is one that is open.
type Connection struct {
	log     *Log
	session string
	entry

	// guarded by Log.mu
	life   int // how often it was told to have connected, less one
	closed bool
}

// entry is what the bucket keeps of a connection.
type entry struct {
	User   string `json:"user"`
	Device string `json:"device,omitempty"`
	Life   int    `json:"life,omitempty"`
	Since  int64  `json:"since"` // Unix milliseconds
}

// id returns the ID of a connection's Connect or Disconnect.
func id(session string, k Kind, life int) string {
	s := session + "-" + string(k)
	if life > 0 {
		s += "-" + strconv.Itoa(life)
	}
	return s
}

// decodeEntry reads what a gateway, perhaps a newer one, wrote.
func decodeEntry(data []byte) (e entry, ok bool) {
	return e, json.Unmarshal(data, &e) == nil && e.User != "" && e.Life >= 0
}
