package wire

import (
	"math"
	"strconv"
)

// The encoders append one frame to dst and return it; they allocate only what dst lacks. Id 0 leaves the id out.

// head begins a frame with the id and the name of its body, which is left open.
func head(dst []byte, id uint64, name string) []byte {
	dst = append(dst, '{')
	if id != 0 {
		dst = append(dst, `"id":`...)
		dst = strconv.AppendUint(dst, id, 10)
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, name...)
	return append(dst, `":{`...)
}

func tail(dst []byte) []byte { return append(dst, "}}"...) }

// appendText appends a string member; before is what stands before the value, its name and colon included.
func appendText(dst []byte, before, value string) []byte {
	return appendString(append(dst, before...), value)
}

func appendUint(dst []byte, before string, n uint64) []byte {
	return strconv.AppendUint(append(dst, before...), n, 10)
}

// appendSeconds writes a number of seconds without an exponent; what is no duration becomes 0.
func appendSeconds(dst []byte, before string, f float64) []byte {
	dst = append(dst, before...)
	if !(f >= 0) || math.IsInf(f, 0) {
		f = 0
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}

// AppendConnectReply appends the answer to connect.
func AppendConnectReply(dst []byte, id uint64, r *ConnectReply) []byte {
	dst = head(dst, id, "connect")
	dst = appendText(dst, `"session":`, r.Session)
	dst = appendText(dst, `,"user":`, r.User)
	dst = appendSeconds(dst, `,"ping":`, r.Ping)
	if r.Expires > 0 {
		dst = appendUint(dst, `,"expires":`, uint64(r.Expires))
	}
	dst = appendSeconds(dst, `,"retry_window":`, r.RetryWindow)
	dst = appendUint(dst, `,"max_message":`, uint64(max(r.MaxMessage, 0)))
	if r.Durable != nil {
		dst = appendDurable(dst, r.Durable)
	}
	return tail(dst)
}

// AppendRenewReply appends the answer to renew.
func AppendRenewReply(dst []byte, id uint64, r *RenewReply) []byte {
	dst = head(dst, id, "renew")
	if r.Expires > 0 {
		dst = appendUint(dst, `"expires":`, uint64(r.Expires))
	}
	return tail(dst)
}

func appendDurable(dst []byte, d *Durable) []byte {
	dst = appendText(dst, `,"durable":{"device":`, d.Device)
	dst = append(dst, `,"resumed":`...)
	dst = strconv.AppendBool(dst, d.Resumed)
	dst = append(dst, `,"restored":[`...)
	for i, r := range d.Restored {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendText(dst, `{"channel":`, r.Channel)
		dst = appendUint(dst, `,"qos":`, uint64(r.QoS))
		if r.QoS != AtMostOnce {
			dst = appendText(dst, `,"epoch":`, r.Epoch)
			dst = appendUint(dst, `,"since":`, r.Since)
		}
		dst = append(dst, '}')
	}
	dst = appendSeconds(dst, `],"ack_wait":`, d.AckWait)
	dst = appendUint(dst, `,"max_unacked":`, uint64(max(d.MaxUnacked, 0)))
	return append(dst, '}')
}

// AppendSubscribeReply appends the answer to subscribe.
func AppendSubscribeReply(dst []byte, id uint64, r *SubscribeReply) []byte {
	dst = head(dst, id, "subscribe")
	dst = appendText(dst, `"channel":`, r.Channel)
	dst = appendText(dst, `,"epoch":`, r.Epoch)
	dst = appendUint(dst, `,"seq":`, r.Seq)
	dst = appendUint(dst, `,"qos":`, uint64(r.QoS))
	return tail(dst)
}

// AppendUnsubscribeReply appends the answer to unsubscribe.
func AppendUnsubscribeReply(dst []byte, id uint64, channel string) []byte {
	dst = head(dst, id, "unsubscribe")
	dst = appendText(dst, `"channel":`, channel)
	return tail(dst)
}

// AppendPublishReply appends the answer to publish.
func AppendPublishReply(dst []byte, id uint64, r *PublishReply) []byte {
	dst = head(dst, id, "publish")
	dst = appendText(dst, `"channel":`, r.Channel)
	if r.Seq != 0 {
		dst = appendUint(dst, `,"seq":`, r.Seq)
	}
	if r.Epoch != "" {
		dst = appendText(dst, `,"epoch":`, r.Epoch)
	}
	dst = append(dst, `,"duplicate":`...)
	dst = strconv.AppendBool(dst, r.Duplicate)
	dst = appendText(dst, `,"durability":`, r.Durability)
	return tail(dst)
}

// AppendAckReply appends the answer to ack.
func AppendAckReply(dst []byte, id uint64, channel string, seq uint64) []byte {
	dst = head(dst, id, "ack")
	dst = appendText(dst, `"channel":`, channel)
	dst = appendUint(dst, `,"seq":`, seq)
	return tail(dst)
}

// AppendHistoryReply appends the answer to history. The Encoding of each message must be set.
func AppendHistoryReply(dst []byte, id uint64, r *HistoryReply) []byte {
	dst = head(dst, id, "history")
	return append(AppendHistoryPage(dst[:len(dst)-1], r), '}')
}

// AppendHistoryPage appends a page of history as an object of its own. The Encoding of each message must be set.
func AppendHistoryPage(dst []byte, r *HistoryReply) []byte {
	dst = appendText(dst, `{"channel":`, r.Channel)
	dst = appendText(dst, `,"epoch":`, r.Epoch)
	dst = append(dst, `,"messages":[`...)
	for i := range r.Messages {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		dst = appendMessage(dst, &r.Messages[i])
		dst = append(dst, '}')
	}
	dst = append(dst, ']')
	if r.Next != "" {
		dst = appendText(dst, `,"next":`, r.Next)
	}
	if r.Lost != nil {
		dst = appendUint(dst, `,"lost":{"from":`, r.Lost.From)
		dst = appendUint(dst, `,"to":`, r.Lost.To)
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// AppendPong appends the answer to ping.
func AppendPong(dst []byte, id uint64) []byte { return tail(head(dst, id, "ping")) }

// AppendErrorReply appends an error: the answer to the command with this id, or a push when id is 0.
func AppendErrorReply(dst []byte, id uint64, e *Error) []byte {
	dst = head(dst, id, "error")
	dst = appendText(dst, `"code":`, e.Code.String())
	dst = appendText(dst, `,"message":`, e.Message)
	if e.RetryAfter > 0 {
		dst = appendSeconds(dst, `,"retry_after":`, e.RetryAfter)
	}
	return tail(dst)
}

// AppendMessagePush appends a message as a subscriber gets it. Encoding must be set to what EncodingOf says of the body.
func AppendMessagePush(dst []byte, m *Message) []byte {
	return tail(appendMessage(append(dst, `{"message":{`...), m))
}

func appendMessage(dst []byte, m *Message) []byte {
	dst = appendText(dst, `"channel":`, m.Channel)
	if m.Pattern != "" {
		dst = appendText(dst, `,"pattern":`, m.Pattern)
	}
	if m.Seq != 0 {
		dst = appendUint(dst, `,"seq":`, m.Seq)
		dst = appendUint(dst, `,"prev":`, m.Prev)
	}
	if m.ID != "" {
		dst = appendText(dst, `,"id":`, m.ID)
	}
	if m.Time > 0 {
		dst = appendUint(dst, `,"time":`, uint64(m.Time))
	}
	if m.From != "" {
		dst = appendText(dst, `,"from":`, m.From)
	}
	dst = append(dst, `,"data":`...)
	dst = AppendData(dst, m.Body, m.Encoding)
	return appendEncoding(dst, m.Encoding)
}

func appendEncoding(dst []byte, e Encoding) []byte {
	if e != JSON {
		dst = appendText(dst, `,"encoding":`, e.String())
	}
	return dst
}

// AppendGapPush appends the news that messages of a subscription are lost.
func AppendGapPush(dst []byte, g *Gap) []byte {
	dst = append(dst, `{"gap":{`...)
	dst = appendText(dst, `"channel":`, g.Channel)
	dst = appendText(dst, `,"epoch":`, g.Epoch)
	dst = appendUint(dst, `,"from":`, g.From)
	if g.To != 0 {
		dst = appendUint(dst, `,"to":`, g.To)
	}
	dst = appendText(dst, `,"reason":`, string(g.Reason))
	return tail(dst)
}

// AppendUnsubscribedPush appends the news that the server has ended a subscription.
func AppendUnsubscribedPush(dst []byte, u *Unsubscribed) []byte {
	dst = appendText(dst, `{"unsubscribed":{"channel":`, u.Channel)
	dst = appendText(dst, `,"code":`, u.Code.String())
	return tail(appendText(dst, `,"message":`, u.Message))
}

// AppendExpiredPush appends the news that the token has expired, and in how many seconds the connection ends for it.
func AppendExpiredPush(dst []byte, graceSeconds float64) []byte {
	return tail(appendSeconds(dst, `{"expired":{"grace":`, graceSeconds))
}

// AppendReconnectPush appends the request to connect anew after so many seconds.
func AppendReconnectPush(dst []byte, afterSeconds float64, reason string) []byte {
	dst = appendSeconds(dst, `{"reconnect":{"after":`, afterSeconds)
	return tail(appendText(dst, `,"reason":`, reason))
}
