package gateway

import "sync"

// rounds looks through all connections for those of users. One pass serves everybody who waits when it begins: it costs what there are
// connections, not what is asked for.
type rounds struct {
	each func(func(*client)) // calls f with every connection

	mu      sync.Mutex
	waiting []*visit

	turn sync.Mutex // one pass at a time; before mu
}

// visit is one question about connections.
type visit struct {
	user string // "": everybody's
	f    func(*client)
	over bool // guarded by rounds.turn
}

// visit calls f with each connection of a user, or of everybody for "".
func (r *rounds) visit(user string, f func(*client)) {
	v := &visit{user: user, f: f}
	r.mu.Lock()
	r.waiting = append(r.waiting, v)
	r.mu.Unlock()
	r.turn.Lock()
	defer r.turn.Unlock()
	if v.over { // in the pass of somebody else
		return
	}
	r.mu.Lock()
	all := r.waiting
	r.waiting = nil
	r.mu.Unlock()
	r.pass(all)
}

func (r *rounds) pass(all []*visit) {
	byUser := map[string][]*visit{}
	for _, v := range all {
		v.over = true
		byUser[v.user] = append(byUser[v.user], v)
	}
	r.each(func(cl *client) {
		for _, v := range byUser[""] {
			v.f(cl)
		}
		if user := cl.session.User(); user != "" {
			for _, v := range byUser[user] {
				v.f(cl)
			}
		}
	})
}
