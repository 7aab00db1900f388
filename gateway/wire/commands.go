package wire

import "math"

func (d *Decoder) connect(c *Connect) {
	var seen fields
	for ok := d.enter('}'); ok; ok = d.more('}') {
		switch key := d.name(); string(key) {
		case "token":
			if d.first(&seen, 0, "token") {
				c.Token = d.text("token", MaxToken)
			}
		case "client":
			if d.first(&seen, 1, "client") {
				c.Client = d.text("client", maxClient)
			}
		case "device":
			if d.first(&seen, 2, "device") {
				c.Device = d.printable("device", MaxDevice)
			}
		default:
			d.unknown(key)
		}
	}
}

func (d *Decoder) renew(c *Renew) {
	var seen fields
	for ok := d.enter('}'); ok; ok = d.more('}') {
		key := d.name()
		if string(key) != "token" {
			d.unknown(key)
		} else if d.first(&seen, 0, "token") {
			c.Token = d.text("token", MaxToken)
		}
	}
	d.must(seen, 0, "token")
}

func (d *Decoder) subscribe(c *Subscribe) {
	var seen fields
	c.QoS = AtLeastOnce
	for ok := d.enter('}'); ok; ok = d.more('}') {
		switch key := d.name(); string(key) {
		case "channel":
			if d.first(&seen, 0, "channel") {
				c.Channel = d.subscription()
			}
		case "since":
			if d.first(&seen, 1, "since") {
				c.Since, c.Resume = d.uint("since", math.MaxUint64), true
			}
		case "epoch":
			if d.first(&seen, 2, "epoch") {
				c.Epoch = d.text("epoch", MaxEpoch)
			}
		case "qos":
			if d.first(&seen, 3, "qos") {
				c.QoS = d.qos()
			}
		default:
			d.unknown(key)
		}
	}
	d.must(seen, 0, "channel")
	switch {
	case c.Epoch != "" && !c.Resume:
		d.refuse("epoch needs since")
	case c.Resume && c.QoS == AtMostOnce:
		d.refuse("since needs qos 1 or 2: at qos 0 there is nothing to resume")
	}
}

func (d *Decoder) qos() QoS {
	q := d.uint("qos", math.MaxUint64)
	if q > uint64(ExactlyOnce) {
		d.refuse("qos must be 0, 1 or 2")
		return 0
	}
	return QoS(q)
}

func (d *Decoder) unsubscribe(c *Unsubscribe) {
	var seen fields
	for ok := d.enter('}'); ok; ok = d.more('}') {
		key := d.name()
		if string(key) != "channel" {
			d.unknown(key)
		} else if d.first(&seen, 0, "channel") {
			c.Channel = d.subscription()
		}
	}
	d.must(seen, 0, "channel")
}

func (d *Decoder) publish(c *Publish) {
	var seen fields
	for ok := d.enter('}'); ok; ok = d.more('}') {
		switch key := d.name(); string(key) {
		case "channel":
			if d.first(&seen, 0, "channel") {
				c.Channel = d.channel()
			}
		case "data":
			if d.first(&seen, 1, "data") {
				c.Data = d.skip()
			}
		case "encoding":
			if d.first(&seen, 2, "encoding") {
				c.Encoding = d.encoding()
			}
		case "id":
			if d.first(&seen, 3, "id") {
				c.ID = d.printable("id", MaxID)
			}
		case "qos":
			if d.first(&seen, 4, "qos") {
				c.QoS = d.qos()
			}
		default:
			d.unknown(key)
		}
	}
	d.must(seen, 0, "channel")
	d.must(seen, 1, "data")
	if c.Encoding != JSON && len(c.Data) > 0 && c.Data[0] != '"' {
		d.refuse("data must be a string where an encoding is given")
	}
	switch {
	case seen.has(4) && c.QoS == ExactlyOnce && !seen.has(3):
		d.refuse("qos 2 needs an id")
	case !seen.has(4) && seen.has(3):
		c.QoS = ExactlyOnce
	case !seen.has(4):
		c.QoS = AtLeastOnce
	}
}

// printable reads a string that ValidID, or ValidDevice, would accept.
func (d *Decoder) printable(field string, most int) string {
	s := d.text(field, most)
	if d.refusal == nil && d.fault == "" {
		if why := checkPrintable(s, most); why != "" {
			d.refuse(field + ": " + why)
		}
	}
	return s
}

func (d *Decoder) ack(c *Ack) {
	var seen fields
	for ok := d.enter('}'); ok; ok = d.more('}') {
		switch key := d.name(); string(key) {
		case "channel":
			if d.first(&seen, 0, "channel") {
				c.Channel = d.subscription()
			}
		case "seq":
			if d.first(&seen, 1, "seq") {
				c.Seq = d.uint("seq", math.MaxUint64)
			}
		case "epoch":
			if d.first(&seen, 2, "epoch") {
				c.Epoch = d.text("epoch", MaxEpoch)
			}
		default:
			d.unknown(key)
		}
	}
	d.must(seen, 0, "channel")
	d.must(seen, 1, "seq")
}

// The fields of history, by their numbers in a set.
const (
	histChannel = iota
	histLast
	histSince
	histUntil
	histSinceTime
	histLimit
	histOrder
	histEpoch
	histCursor
)

func (d *Decoder) history(c *History) {
	var seen fields
	for ok := d.enter('}'); ok; ok = d.more('}') {
		d.historyField(c, d.name(), &seen)
	}
	d.must(seen, histChannel, "channel")
	const (
		bounds = 1<<histSince | 1<<histUntil | 1<<histSinceTime | 1<<histOrder
		inLast = bounds | 1<<histLimit
		inPage = bounds | 1<<histLast | 1<<histEpoch
	)
	switch {
	case seen.has(histLast) && seen&inLast != 0:
		d.refuse("last excludes since, until, since_time, limit and order")
	case seen.has(histCursor) && seen&inPage != 0:
		d.refuse("cursor excludes every other field but channel and limit")
	}
}

func (d *Decoder) historyField(c *History, key []byte, seen *fields) {
	switch string(key) {
	case "channel":
		if d.first(seen, histChannel, "channel") {
			c.Channel = d.channel()
		}
	case "last":
		if d.first(seen, histLast, "last") {
			c.Last = d.count("last")
		}
	case "since":
		if d.first(seen, histSince, "since") {
			c.Since = d.uint("since", math.MaxUint64)
		}
	case "until":
		if d.first(seen, histUntil, "until") {
			if c.Until = d.uint("until", math.MaxUint64); c.Until == 0 {
				d.refuse("until must be at least 1")
			}
		}
	case "since_time":
		if d.first(seen, histSinceTime, "since_time") {
			c.SinceTime = int64(d.uint("since_time", MaxTime))
		}
	case "limit":
		if d.first(seen, histLimit, "limit") {
			c.Limit = d.count("limit")
		}
	case "order":
		if d.first(seen, histOrder, "order") {
			c.Newest = d.newest()
		}
	case "epoch":
		if d.first(seen, histEpoch, "epoch") {
			c.Epoch = d.text("epoch", MaxEpoch)
		}
	case "cursor":
		if d.first(seen, histCursor, "cursor") {
			if c.Cursor = d.text("cursor", MaxCursor); c.Cursor == "" {
				d.refuse("cursor must not be empty")
			}
		}
	default:
		d.unknown(key)
	}
}

func (d *Decoder) count(field string) int {
	n := d.uint(field, maxCount)
	if n == 0 {
		d.refuse(field + " must be at least 1")
	}
	return int(n)
}

func (d *Decoder) newest() bool {
	switch string(d.bytes("order", 16)) {
	case "newest":
		return true
	case "oldest":
		return false
	}
	d.refuse(`order must be "oldest" or "newest"`)
	return false
}
