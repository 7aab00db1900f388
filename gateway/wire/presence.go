package wire

import "math"

// Presence asks who is subscribed to a channel now.
type Presence struct {
	Channel string
}

// PresenceReply answers presence: who is subscribed to a channel now, over all gateways.
type PresenceReply struct {
	Channel     string    `json:"channel"`
	Connections int       `json:"connections"`         // that would get a message now, by the channel or by a pattern
	Users       []Present `json:"users"`               // by name
	More        bool      `json:"more,omitzero"`       // there are more users than are listed
	Unanswered  int       `json:"unanswered,omitzero"` // gateways whose connections are not counted, because they did not answer in time
}

// Present is a user who is subscribed to a channel.
type Present struct {
	User        string `json:"user"`
	Connections int    `json:"connections"`
}

func (d *Decoder) presence(c *Presence) {
	var seen fields
	for ok := d.enter('}'); ok; ok = d.more('}') {
		key := d.name()
		if string(key) != "channel" {
			d.unknown(key)
		} else if d.first(&seen, 0, "channel") {
			c.Channel = d.channel()
		}
	}
	d.must(seen, 0, "channel")
}

// AppendPresence appends a presence command.
func AppendPresence(dst []byte, id uint64, c *Presence) []byte {
	return tail(appendText(head(dst, id, "presence"), `"channel":`, c.Channel))
}

// AppendPresenceReply appends the answer to presence.
func AppendPresenceReply(dst []byte, id uint64, r *PresenceReply) []byte {
	dst = head(dst, id, "presence")
	dst = appendText(dst, `"channel":`, r.Channel)
	dst = appendUint(dst, `,"connections":`, uint64(max(r.Connections, 0)))
	dst = append(dst, `,"users":[`...)
	for i, u := range r.Users {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendText(dst, `{"user":`, u.User)
		dst = appendUint(dst, `,"connections":`, uint64(max(u.Connections, 0)))
		dst = append(dst, '}')
	}
	dst = append(dst, ']')
	if r.More {
		dst = append(dst, `,"more":true`...)
	}
	if r.Unanswered > 0 {
		dst = appendUint(dst, `,"unanswered":`, uint64(r.Unanswered))
	}
	return tail(dst)
}

func (r *serverReader) presenceField(c *PresenceReply, key []byte) bool {
	switch string(key) {
	case "channel":
		c.Channel = r.shared("channel")
	case "connections":
		c.Connections = int(r.uint("connections", math.MaxInt))
	case "users":
		c.Users = []Present{}
		r.array("users", func() {
			var one Present
			r.object("a user", func(key []byte) bool { return r.presentField(&one, key) })
			c.Users = append(c.Users, one)
		})
	case "more":
		c.More = r.bool("more")
	case "unanswered":
		c.Unanswered = int(r.uint("unanswered", math.MaxInt))
	default:
		return false
	}
	return true
}

func (r *serverReader) presentField(one *Present, key []byte) bool {
	switch string(key) {
	case "user":
		one.User = r.shared("user")
	case "connections":
		one.Connections = int(r.uint("connections", math.MaxInt))
	default:
		return false
	}
	return true
}
