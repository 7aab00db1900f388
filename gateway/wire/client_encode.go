package wire

// The encoders of commands, for clients. Id 0 asks for no reply.

// AppendConnect appends a connect command.
func AppendConnect(dst []byte, id uint64, c *Connect) []byte {
	dst = head(dst, id, "connect")
	dst = appendText(dst, `"token":`, c.Token)
	if c.Client != "" {
		dst = appendText(dst, `,"client":`, c.Client)
	}
	if c.Device != "" {
		dst = appendText(dst, `,"device":`, c.Device)
	}
	return tail(dst)
}

// AppendRenew appends a renew command.
func AppendRenew(dst []byte, id uint64, c *Renew) []byte {
	return tail(appendText(head(dst, id, "renew"), `"token":`, c.Token))
}

// AppendSubscribe appends a subscribe command. The epoch is sent only with Since, and Since only if Resume.
func AppendSubscribe(dst []byte, id uint64, c *Subscribe) []byte {
	dst = head(dst, id, "subscribe")
	dst = appendText(dst, `"channel":`, c.Channel)
	if c.Resume {
		dst = appendUint(dst, `,"since":`, c.Since)
		if c.Epoch != "" {
			dst = appendText(dst, `,"epoch":`, c.Epoch)
		}
	}
	dst = appendUint(dst, `,"qos":`, uint64(c.QoS))
	return tail(dst)
}

// AppendUnsubscribe appends an unsubscribe command.
func AppendUnsubscribe(dst []byte, id uint64, c *Unsubscribe) []byte {
	dst = head(dst, id, "unsubscribe")
	dst = appendText(dst, `"channel":`, c.Channel)
	return tail(dst)
}

// AppendPublish appends a publish command. Data is the JSON value that carries the body: see AppendPublishBody.
func AppendPublish(dst []byte, id uint64, c *Publish) []byte {
	dst = publishHead(dst, id, c)
	dst = append(dst, c.Data...)
	return publishTail(dst, c)
}

// AppendPublishBody appends a publish command with this body, encoded as EncodingOf says; Data and Encoding of c are not looked at.
func AppendPublishBody(dst []byte, id uint64, c *Publish, body []byte) []byte {
	p := *c
	p.Encoding = EncodingOf(body)
	dst = publishHead(dst, id, &p)
	dst = AppendData(dst, body, p.Encoding)
	return publishTail(dst, &p)
}

func publishHead(dst []byte, id uint64, c *Publish) []byte {
	dst = head(dst, id, "publish")
	dst = appendText(dst, `"channel":`, c.Channel)
	return append(dst, `,"data":`...)
}

func publishTail(dst []byte, c *Publish) []byte {
	dst = appendEncoding(dst, c.Encoding)
	if c.ID != "" {
		dst = appendText(dst, `,"id":`, c.ID)
	}
	dst = appendUint(dst, `,"qos":`, uint64(c.QoS))
	return tail(dst)
}

// AppendAck appends an ack command.
func AppendAck(dst []byte, id uint64, c *Ack) []byte {
	dst = head(dst, id, "ack")
	dst = appendText(dst, `"channel":`, c.Channel)
	dst = appendUint(dst, `,"seq":`, c.Seq)
	if c.Epoch != "" {
		dst = appendText(dst, `,"epoch":`, c.Epoch)
	}
	return tail(dst)
}

// AppendHistory appends a history command. Zero fields are left out.
func AppendHistory(dst []byte, id uint64, c *History) []byte {
	dst = head(dst, id, "history")
	dst = appendText(dst, `"channel":`, c.Channel)
	if c.Last > 0 {
		dst = appendUint(dst, `,"last":`, uint64(c.Last))
	}
	if c.Since != 0 {
		dst = appendUint(dst, `,"since":`, c.Since)
	}
	if c.Until != 0 {
		dst = appendUint(dst, `,"until":`, c.Until)
	}
	if c.SinceTime > 0 {
		dst = appendUint(dst, `,"since_time":`, uint64(c.SinceTime))
	}
	if c.Limit > 0 {
		dst = appendUint(dst, `,"limit":`, uint64(c.Limit))
	}
	if c.Newest {
		dst = append(dst, `,"order":"newest"`...)
	}
	if c.Epoch != "" {
		dst = appendText(dst, `,"epoch":`, c.Epoch)
	}
	if c.Cursor != "" {
		dst = appendText(dst, `,"cursor":`, c.Cursor)
	}
	return tail(dst)
}

// AppendPing appends a ping command.
func AppendPing(dst []byte, id uint64) []byte { return tail(head(dst, id, "ping")) }
