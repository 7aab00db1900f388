package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/natstest"
)

// commandOf is the command that asks for an operation, on a channel or a destination.
func commandOf(op auth.Op, channel string) (name, fields string) {
	switch op {
	case auth.Publish:
		return "publish", `"data":1,"channel":"` + channel + `"`
	case auth.Command, auth.Call:
		return op.String(), `"data":1,"destination":"` + channel + `"`
	}
	return op.String(), `"channel":"` + channel + `"`
}

// allowed asks for an operation and says whether it was permitted, whatever became of it.
func (r *raw) allowed(op auth.Op, channel string) bool {
	r.t.Helper()
	in := r.ask(commandOf(op, channel))
	if in.Kind != wire.KindError {
		return true
	}
	switch in.Error.Code {
	case wire.PermissionDenied:
		return false
	case wire.NoService: // it is allowed to call, and nobody answers
		return true
	}
	r.t.Fatalf("%v of %s: %v", op, channel, in.Error.Error())
	return false
}

// TestPermissionMatrix: each rule, with each kind of grant, for each operation, on what is one's own and on what is another's.
func TestPermissionMatrix(t *testing.T) {
	// Who may what on NAMESPACE.alice.a, which is alice's own, and on NAMESPACE.bob.a.
	const (
		both    = "own and others'"
		ownOnly = "own"
		nothing = "nothing"
	)
	grants := []string{"anonymous", "no list", "a list of all", "a list of {user}", "a list of another namespace", "an empty list"}
	matrix := map[auth.Rule][]string{
		auth.Anyone:   {both, both, both, ownOnly, nothing, nothing},
		auth.SignedIn: {nothing, both, both, ownOnly, nothing, nothing},
		auth.Granted:  {nothing, nothing, both, ownOnly, nothing, nothing},
		auth.Own:      {nothing, ownOnly, both, ownOnly, nothing, nothing},
		auth.Server:   {nothing, nothing, nothing, nothing, nothing, nothing},
	}
	g := start(t, natstest.Run(t), func(o *gateway.Options) {
		o.Rules = map[string]auth.Rules{}
		for rule := range matrix {
			all := auth.Rules{}
			for _, op := range auth.Ops() {
				all[op] = rule
			}
			o.Rules[string(rule)] = all
		}
	})
	checks := 0
	for rule, row := range matrix {
		for i, grant := range grants {
			lists := map[string][]string{"no list": nil, "a list of all": {string(rule) + ".>"}, "a list of {user}": {string(rule) + ".{user}.>"}, "a list of another namespace": {"else.>"}, "an empty list": {}}
			r := g.open()
			token := ""
			if list, ok := lists[grant]; ok {
				p := auth.Patterns{}
				for _, op := range auth.Ops() {
					p[op] = list
				}
				token = sign(t, auth.Grant{User: "alice", Patterns: &p})
			}
			if in := r.connect(token, ""); in.Kind != wire.KindConnect {
				t.Fatalf("%+v", in)
			}
			for _, op := range auth.Ops() {
				may := nothing
				switch own, other := r.allowed(op, string(rule)+".alice.a"), r.allowed(op, string(rule)+".bob.a"); {
				case own && other:
					may = both
				case own:
					may = ownOnly
				case other:
					may = "others'"
				}
				if checks++; may != row[i] {
					t.Errorf("rule %s, %s, %v: may do %s, want %s", rule, grant, op, may, row[i])
				}
			}
			_ = r.conn.Close()
		}
	}
	if want := 5 * 6 * 6; checks != want {
		t.Errorf("%d cases, want %d", checks, want)
	}
}

// Each operation has a rule and a list of its own: what another one has is no help.
func TestOperationsAreIndependent(t *testing.T) {
	g := start(t, natstest.Run(t), func(o *gateway.Options) {
		o.Rules = map[string]auth.Rules{}
		for _, op := range auth.Ops() {
			r := auth.Rules{}
			for _, other := range auth.Ops() {
				r[other] = auth.Server
			}
			r[op] = auth.SignedIn
			o.Rules["rule-"+op.String()] = r
		}
	})
	plain := g.signIn("alice")
	for _, listed := range auth.Ops() {
		p := auth.Patterns{}
		for _, op := range auth.Ops() {
			p[op] = []string{}
		}
		p[listed] = []string{"list.>"}
		r := g.open()
		r.connect(sign(t, auth.Grant{User: "alice", Patterns: &p}), "")
		for _, op := range auth.Ops() {
			if got := plain.allowed(op, "rule-"+listed.String()+".a"); got != (op == listed) {
				t.Errorf("the rule of %v allows %v: %v", listed, op, got)
			}
			if got := r.allowed(op, fmt.Sprintf("list.%s.a", strings.ToLower(op.String()))); got != (op == listed) {
				t.Errorf("the list of %v allows %v: %v", listed, op, got)
			}
		}
	}
}
