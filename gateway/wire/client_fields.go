package wire

import "math"

// maxText bounds the strings that a client takes from a server, which has no reason to send longer ones.
const maxText = 64 << 10

func (r *serverReader) plain(field string) string { return r.text(field, maxText) }

func (r *serverReader) shared(field string) string { return r.names.name(r.bytes(field, maxText)) }

// field reads one field of any body but a message.
func (r *serverReader) field(in *Incoming, key []byte) {
	known := false
	switch in.Kind {
	case KindConnect:
		known = r.connectField(&in.Connect, key)
	case KindSubscribe:
		known = r.subscribeField(&in.Subscribe, key)
	case KindUnsubscribe:
		known = string(key) == "channel"
		if known {
			in.Unsubscribe.Channel = r.shared("channel")
		}
	case KindPublish:
		known = r.publishField(&in.Publish, key)
	case KindAck:
		known = r.ackField(&in.Ack, key)
	case KindHistory:
		known = r.historyField(&in.History, key)
	case KindCommand:
		known = r.taskField(&in.Task, key)
	case KindError:
		known = r.errorField(&in.Error, key)
	case KindGap:
		known = r.gapField(&in.Gap, key)
	case KindExpired:
		known = string(key) == "grace"
		if known {
			in.Expired.Grace = r.float("grace")
		}
	case KindReconnect:
		known = r.reconnectField(&in.Reconnect, key)
	case KindPresence:
		known = r.presenceField(&in.Presence, key)
	case KindRenew:
		if known = string(key) == "expires"; known {
			in.Renew.Expires = int64(r.uint("expires", math.MaxInt64))
		}
	case KindUnsubscribed:
		if known = string(key) == "channel"; known {
			in.Unsubscribed.Channel = r.shared("channel")
		} else {
			known = r.errorField(&in.Unsubscribed.Error, key)
		}
	}
	if !known {
		r.skip()
	}
}

func (r *serverReader) connectField(c *ConnectReply, key []byte) bool {
	switch string(key) {
	case "session":
		c.Session = r.plain("session")
	case "user":
		c.User = r.plain("user")
	case "ping":
		c.Ping = r.float("ping")
	case "expires":
		c.Expires = int64(r.uint("expires", math.MaxInt64))
	case "retry_window":
		c.RetryWindow = r.float("retry_window")
	case "max_message":
		c.MaxMessage = int(r.uint("max_message", math.MaxInt))
	case "durable":
		c.Durable = &Durable{Restored: []Restored{}}
		r.object("durable", func(key []byte) bool { return r.durableField(c.Durable, key) })
	default:
		return false
	}
	return true
}

// object reads an object's fields; known reads one, or reports that there is none of that name.
func (r *serverReader) object(field string, known func(key []byte) bool) {
	if r.peek() != '{' {
		r.mismatch(field, "an object")
		return
	}
	for ok := r.enter('}'); ok; ok = r.more('}') {
		if !known(r.name()) {
			r.skip()
		}
	}
}

func (r *serverReader) array(field string, element func()) {
	if r.peek() != '[' {
		r.mismatch(field, "an array")
		return
	}
	for ok := r.enter(']'); ok; ok = r.more(']') {
		element()
	}
}

func (r *serverReader) durableField(d *Durable, key []byte) bool {
	switch string(key) {
	case "device":
		d.Device = r.plain("device")
	case "resumed":
		d.Resumed = r.bool("resumed")
	case "restored":
		d.Restored = []Restored{}
		r.array("restored", func() {
			var one Restored
			r.object("a restored subscription", func(key []byte) bool { return r.restoredField(&one, key) })
			if one.QoS == AtMostOnce { // it has no position
				one.Epoch, one.Since = "", 0
			}
			d.Restored = append(d.Restored, one)
		})
	case "ack_wait":
		d.AckWait = r.float("ack_wait")
	case "max_unacked":
		d.MaxUnacked = int(r.uint("max_unacked", math.MaxInt))
	default:
		return false
	}
	return true
}

func (r *serverReader) restoredField(one *Restored, key []byte) bool {
	switch string(key) {
	case "channel":
		one.Channel = r.shared("channel")
	case "qos":
		one.QoS = QoS(r.uint("qos", uint64(ExactlyOnce)))
	case "epoch":
		one.Epoch = r.shared("epoch")
	case "since":
		one.Since = r.uint("since", math.MaxUint64)
	default:
		return false
	}
	return true
}

func (r *serverReader) subscribeField(c *SubscribeReply, key []byte) bool {
	switch string(key) {
	case "channel":
		c.Channel = r.shared("channel")
	case "epoch":
		c.Epoch = r.shared("epoch")
	case "seq":
		c.Seq = r.uint("seq", math.MaxUint64)
	case "qos":
		c.QoS = QoS(r.uint("qos", uint64(ExactlyOnce)))
	default:
		return false
	}
	return true
}

func (r *serverReader) publishField(c *PublishReply, key []byte) bool {
	switch string(key) {
	case "channel":
		c.Channel = r.shared("channel")
	case "seq":
		c.Seq = r.uint("seq", math.MaxUint64)
	case "epoch":
		c.Epoch = r.shared("epoch")
	case "duplicate":
		c.Duplicate = r.bool("duplicate")
	case "durability":
		c.Durability = r.shared("durability")
	default:
		return false
	}
	return true
}

func (r *serverReader) ackField(c *AckReply, key []byte) bool {
	switch string(key) {
	case "channel":
		c.Channel = r.shared("channel")
	case "seq":
		c.Seq = r.uint("seq", math.MaxUint64)
	default:
		return false
	}
	return true
}

func (r *serverReader) historyField(c *HistoryReply, key []byte) bool {
	switch string(key) {
	case "channel":
		c.Channel = r.shared("channel")
	case "epoch":
		c.Epoch = r.shared("epoch")
	case "next":
		c.Next = r.plain("next")
	case "messages":
		r.array("messages", func() {
			var m Message
			if r.peek() != '{' {
				r.mismatch("a message", "an object")
				return
			}
			r.message(&m)
			c.Messages = append(c.Messages, m)
		})
	case "lost":
		c.Lost = new(Range)
		r.object("lost", func(key []byte) bool { return r.rangeField(c.Lost, key) })
	default:
		return false
	}
	return true
}

func (r *serverReader) rangeField(lost *Range, key []byte) bool {
	switch string(key) {
	case "from":
		lost.From = r.uint("from", math.MaxUint64)
	case "to":
		lost.To = r.uint("to", math.MaxUint64)
	default:
		return false
	}
	return true
}

func (r *serverReader) errorField(e *Error, key []byte) bool {
	switch string(key) {
	case "code":
		name := r.plain("code")
		var ok bool
		if e.Code, ok = CodeOf(name); !ok {
			e.Message = name + ": " + e.Message
		}
	case "message":
		e.Message += r.plain("message")
	case "retry_after":
		e.RetryAfter = r.float("retry_after")
	default:
		return false
	}
	return true
}

func (r *serverReader) gapField(g *Gap, key []byte) bool {
	switch string(key) {
	case "channel":
		g.Channel = r.shared("channel")
	case "epoch":
		g.Epoch = r.shared("epoch")
	case "from":
		g.From = r.uint("from", math.MaxUint64)
	case "to":
		g.To = r.uint("to", math.MaxUint64)
	case "reason":
		g.Reason = GapReason(r.shared("reason"))
	default:
		return false
	}
	return true
}

func (r *serverReader) reconnectField(c *Reconnect, key []byte) bool {
	switch string(key) {
	case "after":
		c.After = r.float("after")
	case "reason":
		c.Reason = r.plain("reason")
	default:
		return false
	}
	return true
}

// message reads a message: the one body that comes by the million.
func (r *serverReader) message(m *Message) {
	*m = Message{}
	var data []byte
	for ok := r.enter('}'); ok; ok = r.more('}') {
		switch string(r.name()) {
		case "channel":
			m.Channel = r.shared("channel")
		case "pattern":
			m.Pattern = r.shared("pattern")
		case "seq":
			m.Seq = r.uint("seq", math.MaxUint64)
		case "prev":
			m.Prev = r.uint("prev", math.MaxUint64)
		case "id":
			m.ID = r.plain("id")
		case "time":
			m.Time = int64(r.uint("time", math.MaxInt64))
		case "from":
			m.From = r.shared("from")
		case "data":
			data = r.skip()
		case "encoding":
			m.Encoding = r.encoding()
		default:
			r.skip()
		}
	}
	m.Body = r.body(data, m.Encoding, "a message")
}

// body returns what the data of a frame that has been read carries; of says what kind of frame that is.
func (r *serverReader) body(data []byte, e Encoding, of string) []byte {
	if r.fault != "" || r.refusal != nil {
		return nil
	}
	if data == nil {
		r.refuse(of + " without data")
		return nil
	}
	body, err := DecodeBody(data, e)
	if err != nil {
		r.refuse("data is no string of its encoding")
		return nil
	}
	return body
}
