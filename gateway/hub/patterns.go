package hub

import (
	"strings"
	"sync"
	"sync/atomic"
)

// patterns finds the topics whose pattern a channel matches: a trie of tokens. mu is a leaf.
type patterns struct {
	count atomic.Int64 // of topics; most gateways have few or none

	mu   sync.RWMutex
	root node
}

type node struct {
	next map[string]*node // "*" among them
	here *topic           // whose pattern ends here
	rest *topic           // whose pattern ends here with ">"
}

func (n *node) empty() bool { return len(n.next) == 0 && n.here == nil && n.rest == nil }

// set puts a pattern's topic in place; nil removes it.
func (p *patterns) set(pattern string, t *topic) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.root.set(pattern, t)
	if t != nil {
		p.count.Add(1)
	} else {
		p.count.Add(-1)
	}
}

func (n *node) set(pattern string, t *topic) {
	token, rest, more := strings.Cut(pattern, ".")
	if token == ">" {
		n.rest = t
		return
	}
	child := n.next[token]
	if child == nil {
		if n.next == nil {
			n.next = make(map[string]*node)
		}
		child = &node{}
		n.next[token] = child
	}
	if more {
		child.set(rest, t)
	} else {
		child.here = t
	}
	if child.empty() {
		delete(n.next, token)
	}
}

// match appends the topics whose pattern the channel matches.
func (p *patterns) match(dst []*topic, channel string) []*topic {
	if p.count.Load() == 0 {
		return dst
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.root.match(dst, channel)
}

func (n *node) match(dst []*topic, channel string) []*topic {
	if n.rest != nil {
		dst = append(dst, n.rest)
	}
	token, rest, more := strings.Cut(channel, ".")
	for _, name := range [...]string{token, "*"} {
		child := n.next[name]
		switch {
		case child == nil:
		case more:
			dst = child.match(dst, rest)
		case child.here != nil:
			dst = append(dst, child.here)
		}
	}
	return dst
}
