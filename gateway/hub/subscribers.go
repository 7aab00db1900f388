package hub

// Subscribers returns the sinks of those who get what is published to a channel now, by it or by patterns, at most most of them, and how many
// subscriptions there are. A sink that has several comes several times.
func (h *Hub) Subscribers(channel string, most int) (sinks []Sink, subscriptions int) {
	var topics []*topic
	sh := h.shard(channel)
	sh.mu.Lock()
	if t := sh.topics[channel]; t != nil {
		topics = append(topics, t)
	}
	sh.mu.Unlock()
	for _, t := range h.patterns.match(topics, channel) {
		t.shard.mu.Lock()
		subscriptions += len(t.cursors)
		for _, c := range t.cursors[:min(len(t.cursors), most-len(sinks))] {
			sinks = append(sinks, c.sink)
		}
		t.shard.mu.Unlock()
	}
	return sinks, subscriptions
}
