package main

import (
	"slices"
	"sync"
)

// queueLength is how many messages may wait for one client. More than the load has in flight (64), so that only a client
// that does not read is ended.
const queueLength = 80

// mostJoined is how many messages leave in one write, at most.
const mostJoined = 16

// hub knows who listens to which channel.
type hub struct {
	mu       sync.RWMutex // guards what follows, and that no queue is closed while it is written to
	channels map[string]map[*client]struct{}
}

// client is one connection. Its reader makes it and ends it; its writer empties the queue. A message is encoded once, for all
// clients.
type client struct {
	queue    chan []byte
	end      func() // closes the connection; the reader notices
	channels []string
}

func newHub() *hub {
	return &hub{channels: make(map[string]map[*client]struct{})}
}

// newClient returns a client for a connection that end closes without waiting for anybody.
func newClient(end func()) *client {
	return &client{queue: make(chan []byte, queueLength), end: end}
}

func (h *hub) subscribe(c *client, channel string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	members := h.channels[channel]
	if members == nil {
		members = make(map[*client]struct{})
		h.channels[channel] = members
	}
	if _, ok := members[c]; !ok {
		members[c] = struct{}{}
		c.channels = append(c.channels, channel)
	}
}

func (h *hub) unsubscribe(c *client, channel string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.removeLocked(c, channel)
	c.channels = slices.DeleteFunc(c.channels, func(s string) bool { return s == channel })
}

// removeLocked takes a client off a channel. The caller must hold mu.
func (h *hub) removeLocked(c *client, channel string) {
	members := h.channels[channel]
	if delete(members, c); len(members) == 0 {
		delete(h.channels, channel)
	}
}

// leave takes a client off all channels, and ends its writer.
func (h *hub) leave(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, channel := range c.channels {
		h.removeLocked(c, channel)
	}
	close(c.queue)
}

// publish queues a message for all who listen. Who has not read for too long is ended.
func (h *hub) publish(channel string, text []byte) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for c := range h.channels[channel] {
		select {
		case c.queue <- text:
		default:
			c.end()
		}
	}
}

// serve reads a client's commands until read fails. The answers are queued behind what was published before them.
func (h *hub) serve(c *client, read func() ([]byte, error)) {
	defer h.leave(c)
	defer c.end()
	for {
		text, err := read()
		if err != nil {
			return
		}
		answers, err := h.receive(c, text)
		if err != nil {
			return
		}
		if len(answers) > 0 {
			c.queue <- answers
		}
	}
}

// joined returns text with what waits behind it: a message of the protocol may hold several. scratch is the writer's own.
func (c *client) joined(text []byte, scratch *[]byte) []byte {
	n := min(len(c.queue), mostJoined-1)
	if n == 0 {
		return text
	}
	*scratch = append((*scratch)[:0], text...)
	for range n {
		*scratch = append(*scratch, <-c.queue...)
	}
	return *scratch
}
