package unified

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

var now = time.Unix(1_700_000_000, 0)

func TestRoute(t *testing.T) {
	alice := Client{ID: "alice", Type: "app"}
	for _, c := range []struct {
		m    Message
		op   auth.Op
		to   string
		code wire.Code
	}{
		{Message{}, auth.Command, "unified.default", 0},
		{Message{Type: "scan"}, auth.Command, "unified.scan", 0},
		{Message{Type: "scan", Business: "pay.qr"}, auth.Command, "unified.=cGF5LnFy", 0},
		{Message{Class: ClientToServer, To: "bob", Business: "order", Tags: []string{"vip"}}, auth.Command, "unified.order", 0},
		{Message{To: "bob"}, auth.Publish, "unified.to.bob", 0},
		{Message{To: "bob@example.com", ToType: "h5"}, auth.Publish, "unified.to.=Ym9iQGV4YW1wbGUuY29t", 0},
		{Message{ToType: "h5"}, auth.Publish, Cast, 0},
		{Message{ToType: "*"}, auth.Publish, Cast, 0},
		{Message{Tags: []string{"vip"}}, auth.Publish, Cast, 0},
		{Message{Class: ClientToClient, Businesses: []string{"order"}}, auth.Publish, Cast, 0},
		{Message{Businesses: []string{"order"}}, auth.Command, "unified.default", 0},
		{Message{Class: ClientToClient}, 0, "", wire.BadRequest},
		{Message{Class: ServerToClient, To: "bob"}, 0, "", wire.PermissionDenied},
		{Message{From: "bob", To: "bob"}, 0, "", wire.PermissionDenied},
		{Message{From: "alice", FromType: "h5", To: "bob"}, 0, "", wire.PermissionDenied},
		{Message{From: "alice", FromType: "app", To: "bob"}, auth.Publish, "unified.to.bob", 0},
	} {
		t.Run(fmt.Sprintf("%+v", c.m), func(t *testing.T) {
			m := c.m
			err := alice.stamp(&m, now)
			var op auth.Op
			var to string
			if err == nil {
				op, to, err = route(&m)
			}
			if c.code != 0 {
				var e *wire.Error
				if !errors.As(err, &e) || e.Code != c.code {
					t.Fatalf("%v %s, %v", op, to, err)
				}
				return
			}
			if err != nil || op != c.op || to != c.to || wire.ValidChannel(to) != nil {
				t.Fatalf("%v %s, %v", op, to, err)
			}
			if m.From != "alice" || m.FromType != "app" || m.Timestamp != now.UnixMilli() || m.ID == "" {
				t.Errorf("%+v", m)
			}
		})
	}
}

func TestBackendsMessages(t *testing.T) {
	m := Message{To: "bob", From: "shop", Timestamp: 7}
	if err := stampServer(&m, now); err != nil || m.Class != ServerToClient || m.From != "shop" || m.Timestamp != 7 {
		t.Errorf("%+v, %v", m, err)
	}
	for _, c := range []Class{ClientToServer, ClientToClient} {
		if err := stampServer(&Message{Class: c, To: "bob"}, now); err == nil {
			t.Errorf("%v passed", c)
		}
	}
}

func TestWhoTakesWhat(t *testing.T) {
	vip, order, both := []string{"vip"}, []string{"order"}, []string{"new", "vip"}
	for _, c := range []struct {
		m      Message
		client Client
		want   bool
	}{
		{Message{}, Client{Type: "app"}, true},
		{Message{ToType: "app"}, Client{Type: "app"}, true},
		{Message{ToType: "h5"}, Client{Type: "app"}, false},
		{Message{ToType: "*"}, Client{Type: "app"}, true},
		{Message{Tags: both}, Client{Tags: vip}, true},
		{Message{Tags: vip}, Client{Tags: order}, false},
		{Message{Tags: vip}, Client{}, false},
		{Message{To: "bob", Tags: vip}, Client{ID: "bob"}, true},
		{Message{To: "bob", Tags: vip}, Client{ID: "bob", Tags: order}, false},
		{Message{Tags: vip, Businesses: order}, Client{Tags: vip}, false},
		{Message{Tags: vip, Businesses: order}, Client{Tags: vip, Businesses: order}, true},
		{Message{}, Client{Tags: vip, Businesses: order}, true},
		{Message{Class: ClientToClient, From: "bob", FromType: "app", ToType: "*"}, Client{ID: "bob", Type: "app"}, false},
		{Message{Class: ClientToClient, From: "bob", FromType: "app", To: "bob"}, Client{ID: "bob", Type: "h5"}, true},
		{Message{Class: ServerToClient, From: "bob", FromType: "app", To: "bob"}, Client{ID: "bob", Type: "app"}, true},
	} {
		if got := c.client.takes(&c.m); got != c.want {
			t.Errorf("%+v of %+v: %v", c.client, c.m, got)
		}
	}
}

func TestClientToClientRules(t *testing.T) {
	patterns := func(publish ...string) *auth.Patterns { return &auth.Patterns{auth.Publish: publish} }
	for _, c := range []struct {
		rule     auth.Rule
		patterns *auth.Patterns
		to       string
		want     bool
	}{
		{auth.Own, nil, "alice", true},
		{auth.Own, nil, "bob", false},
		{auth.Own, nil, "", false}, // cast
		{auth.Own, patterns("unified.to.bob"), "bob", true},
		{auth.Own, patterns("unified.to.bob"), "alice", false}, // the token names patterns, and allows nothing outside them
		{auth.Own, patterns(Cast), "", true},
		{auth.SignedIn, nil, "bob", true},
		{auth.SignedIn, nil, "", true},
		{auth.SignedIn, patterns("chat.>"), "bob", false},
		{auth.Granted, nil, "alice", false},
		{auth.Granted, patterns("unified.to.>"), "carol", true},
		{auth.Granted, patterns("unified.to.>"), "", false},
		{auth.Server, patterns("unified.>"), "alice", false},
	} {
		m := Message{Class: ClientToClient, To: c.to, ToType: "*"}
		alice := Client{ID: "alice", Type: "app"}
		op, channel, err := route(&m)
		if err == nil {
			err = alice.allow(&auth.Grant{User: "alice", Patterns: c.patterns}, c.rule, op, &m, channel, now)
		}
		if (err == nil) != c.want {
			t.Errorf("%s with %v to %q: %v", c.rule, c.patterns, c.to, err)
		}
	}
	alice, command := Client{ID: "alice"}, Message{Class: ClientToServer, Business: "order"}
	for _, c := range []struct {
		patterns *auth.Patterns
		want     bool
	}{{nil, true}, {&auth.Patterns{auth.Command: {"unified.order"}}, true}, {&auth.Patterns{auth.Command: {"unified.pay"}}, false}} {
		err := alice.allow(&auth.Grant{User: "alice", Patterns: c.patterns}, auth.Server, auth.Command, &command, Destination(&command), now)
		if (err == nil) != c.want {
			t.Errorf("command with %v: %v", c.patterns, err)
		}
	}
	err := alice.allow(&auth.Grant{User: "alice", Expires: now.UnixMilli()}, auth.SignedIn, auth.Command, &command, Destination(&command), now)
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != wire.ExpiredToken {
		t.Error(err)
	}
}

// Any name becomes a token that fits a channel, and no two the same one.
func TestToken(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		name := rapid.StringMatching(`[^\x00-\x1f\x7f ~][^\x00-\x1f\x7f]{0,41}`).Draw(r, "name")
		if len(name) > auth.MaxUser || auth.CheckUser(name) != nil {
			r.Skip()
		}
		if err := wire.ValidChannel(Inbox(name)); err != nil {
			r.Fatalf("%q: %v", name, err)
		}
		other := rapid.SampledFrom([]string{Token(name), "=" + name, name + ".", strings.ToUpper(name)}).Draw(r, "other")
		if other != name && Token(other) == Token(name) {
			r.Fatalf("%q and %q", name, other)
		}
	})
	for name, want := range map[string]string{"alice": "alice", "a.b": "=YS5i", "支付": "=5pSv5LuY", "=x": "=PXg", "$x": "=JHg", "a b": "=YSBi", "@x-1:2": "@x-1:2"} {
		if got := Token(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	long := strings.Repeat("é", MaxClientType/2)
	if err := wire.ValidDevice(Device(long)); err != nil {
		t.Error(err)
	}
	if err := wire.ValidChannel(Inbox(strings.Repeat(".", auth.MaxUser))); err != nil {
		t.Error(err)
	}
}
