package main

import (
	"slices"
	"sync"
)

// queueLength is how many messages may wait for one client. More than the load has in flight (64), so that only a client
// that does not read is ended.
const queueLength = 128

// hub knows who listens to which channel. M is a message as a library likes to write it, made once for all clients.
type hub[M any] struct {
	prepare func(text []byte) M

	mu       sync.RWMutex // guards what follows, and that no queue is closed while it is written to
	channels map[string]map[*client[M]]struct{}
}

// client is one connection. Its reader makes it and ends it; its writer empties the queue.
type client[M any] struct {
	queue    chan M
	end      func() // closes the connection; the reader notices
	channels []string
}

func newHub[M any](prepare func(text []byte) M) *hub[M] {
	return &hub[M]{prepare: prepare, channels: make(map[string]map[*client[M]]struct{})}
}

// newClient returns a client for a connection that end closes without waiting for anybody.
func newClient[M any](end func()) *client[M] {
	return &client[M]{queue: make(chan M, queueLength), end: end}
}

func (h *hub[M]) subscribe(c *client[M], channel string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	members := h.channels[channel]
	if members == nil {
		members = make(map[*client[M]]struct{})
		h.channels[channel] = members
	}
	if _, ok := members[c]; !ok {
		members[c] = struct{}{}
		c.channels = append(c.channels, channel)
	}
}

func (h *hub[M]) unsubscribe(c *client[M], channel string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.removeLocked(c, channel)
	c.channels = slices.DeleteFunc(c.channels, func(s string) bool { return s == channel })
}

// removeLocked takes a client off a channel. The caller must hold mu.
func (h *hub[M]) removeLocked(c *client[M], channel string) {
	members := h.channels[channel]
	if delete(members, c); len(members) == 0 {
		delete(h.channels, channel)
	}
}

// leave takes a client off all channels, and ends its writer.
func (h *hub[M]) leave(c *client[M]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, channel := range c.channels {
		h.removeLocked(c, channel)
	}
	close(c.queue)
}

// publish queues a message for all who listen. Who has not read for too long is ended.
func (h *hub[M]) publish(channel string, text []byte) {
	m := h.prepare(text)
	h.mu.RLock()
	defer h.mu.RUnlock()
	for c := range h.channels[channel] {
		select {
		case c.queue <- m:
		default:
			c.end()
		}
	}
}

// serve reads a client's commands until read fails. The answers are queued behind what was published before them.
func (h *hub[M]) serve(c *client[M], read func() ([]byte, error)) {
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
			c.queue <- h.prepare(answers)
		}
	}
}
