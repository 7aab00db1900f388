package gateway_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/access"
	"github.com/jetwire/jetwire/streams/natstest"
)

// connect sends connect with a token, and returns the answer.
func (r *raw) connect(token, more string) wire.Incoming {
	r.t.Helper()
	r.nextID = 1
	r.send(`{"id":1,"connect":{"token":"` + token + `"` + more + `}}`)
	return r.next()
}

func ticket(t testing.TB, g *running, grant auth.Grant) string {
	t.Helper()
	token, err := g.Ticket(t.Context(), grant, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// A one-time token signs in once, on whichever gateway, however many try at the same time; what stands behind connect is done.
func TestOneTimeToken(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		gates := []*running{start(t, ns, change), start(t, ns, change)}
		token := ticket(t, gates[0], auth.Grant{User: "alice", Patterns: &auth.Patterns{auth.Publish: []string{"chat.{user}"}}})
		results := make(chan wire.Incoming, 10)
		var all sync.WaitGroup
		for i := range cap(results) {
			r := gates[i%2].open()
			all.Go(func() {
				r.send(`{"id":1,"connect":{"token":"` + token + `"}}{"id":2,"publish":{"channel":"chat.alice","data":1}}{"id":3,"publish":{"channel":"chat.bob","data":1}}`)
				in := r.next()
				results <- in
				if in.Kind != wire.KindConnect {
					if code := r.closes(); code != wire.BadToken {
						t.Errorf("closed with %v", code)
					}
					return
				}
				for range 2 {
					if in := r.next(); in.ID == 2 && in.Kind != wire.KindPublish || in.ID == 3 && in.Error.Code != wire.PermissionDenied {
						t.Errorf("%+v", in)
					}
				}
			})
		}
		all.Wait()
		close(results)
		won := 0
		for in := range results {
			if in.Kind == wire.KindConnect && in.Connect.User == "alice" {
				won++
			} else if in.Error.Code != wire.BadToken {
				t.Errorf("%+v", in)
			}
		}
		if won != 1 {
			t.Errorf("%d have signed in", won)
		}
		// With a device, which takes its time too.
		r := gates[1].open()
		if in := r.connect(ticket(t, gates[0], auth.Grant{User: "alice"}), `,"device":"d"`); in.Kind != wire.KindConnect || in.Connect.Durable == nil {
			t.Errorf("%+v", in)
		}
		r.must("ping", "")
	})
}

func TestOneTimeTokenWithoutNATS(t *testing.T) {
	ns := natstest.Run(t)
	g := start(t, ns, nil)
	token := ticket(t, g, auth.Grant{User: "alice"})
	ns.Shutdown()
	r := g.open()
	if in := r.connect(token, ""); in.Kind != wire.KindError || in.Error.Code != wire.Unavailable {
		t.Errorf("%+v", in)
	}
	if in := g.open().connect(token[:len(token)-4]+"AAAA", ""); in.Error.Code != wire.BadToken {
		t.Errorf("a forged one: %+v", in)
	}
	ns.Restart()
	eventually(t, "NATS", func() bool {
		_, err := g.Ticket(t.Context(), auth.Grant{User: "alice"}, time.Minute)
		return err == nil
	})
	if in := g.open().connect(token, ""); in.Kind != wire.KindConnect {
		t.Errorf("when NATS is back: %+v", in)
	}
}

// A revocation ends live connections on every gateway within a second, and those tokens are refused; others are not touched.
func TestRevocationWithinASecond(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		gates := []*running{start(t, ns, change), start(t, ns, change)}
		byID := sign(t, auth.Grant{User: "alice", TokenID: "t1"})
		other := sign(t, auth.Grant{User: "alice", TokenID: "t2"})
		ofBob := sign(t, auth.Grant{User: "bob"})
		for _, c := range []struct {
			revoke      access.Revocation
			ends, stays string
		}{
			{access.Revocation{TokenID: "t1"}, byID, other},
			{access.Revocation{User: "bob", Before: time.Now().Add(time.Millisecond)}, ofBob, other},
			{access.Revocation{User: "alice"}, other, ""},
		} {
			var ends, stays []*raw
			for _, g := range gates {
				for _, list := range []struct {
					of    *[]*raw
					token string
				}{{&ends, c.ends}, {&stays, c.stays}} {
					if list.token == "" {
						continue
					}
					r := g.open()
					if in := r.connect(list.token, ""); in.Kind != wire.KindConnect {
						t.Fatalf("%+v: %+v", c.revoke, in)
					}
					*list.of = append(*list.of, r)
				}
			}
			began := time.Now()
			if err := gates[0].Revoke(t.Context(), c.revoke); err != nil {
				t.Fatal(err)
			}
			for _, r := range ends {
				if code := r.closes(); code != wire.Revoked {
					t.Errorf("%+v: closed with %v", c.revoke, code)
				}
			}
			if took := time.Since(began); took > time.Second { // the promise
				t.Errorf("%+v: it took %v", c.revoke, took)
			}
			for _, r := range stays {
				r.must("ping", "")
			}
			for _, g := range gates {
				if in := g.open().connect(c.ends, ""); in.Error.Code != wire.Revoked {
					t.Errorf("%+v: %+v", c.revoke, in)
				}
			}
		}
		// One that was issued later holds, as a new connection's and as a renewal's.
		if err := gates[0].Revoke(t.Context(), access.Revocation{User: "carol", Before: time.Now()}); err != nil {
			t.Fatal(err)
		}
		carol := gates[0].open()
		if in := carol.connect(sign(t, auth.Grant{User: "carol"}), ""); in.Kind != wire.KindConnect {
			t.Fatalf("%+v", in)
		}
		if err := gates[1].Revoke(t.Context(), access.Revocation{TokenID: "t3"}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the revocation", func() bool { return gates[0].metric("jetwire_revocations") == 5 })
		carol.refused(wire.Revoked, "renew", `"token":"`+sign(t, auth.Grant{User: "carol", TokenID: "t3"})+`"`)
		carol.must("renew", `"token":"`+sign(t, auth.Grant{User: "carol"})+`"`)
		carol.refused(wire.BadToken, "renew", `"token":"`+access.TicketPrefix+`x"`)
		carol.must("renew", `"token":"`+ticket(t, gates[1], auth.Grant{User: "carol"})+`"`)
	})
}

// What was revoked holds when NATS has started again, and on a gateway that starts later.
func TestRevocationAfterRestart(t *testing.T) {
	ns := natstest.Run(t)
	first := start(t, ns, nil)
	if err := first.Revoke(t.Context(), access.Revocation{TokenID: "t1"}); err != nil {
		t.Fatal(err)
	}
	ns.Restart()
	second := start(t, ns, nil)
	for _, g := range []*running{first, second} {
		if in := g.open().connect(sign(t, auth.Grant{User: "alice", TokenID: "t1"}), ""); in.Error.Code != wire.Revoked {
			t.Errorf("%+v", in)
		}
	}
}

func TestAnonymousConnections(t *testing.T) {
	ns := natstest.Run(t)
	g := start(t, ns, func(o *gateway.Options) {
		o.Rules = map[string]auth.Rules{"news": {auth.Subscribe: auth.Anyone, auth.History: auth.Anyone, auth.Publish: auth.Server}}
	})
	r := g.open()
	if in := r.connect("", ""); in.Kind != wire.KindConnect || in.Connect.User[:1] != "~" || in.Connect.Expires != 0 {
		t.Fatalf("%+v", in)
	}
	r.must("subscribe", `"channel":"news.today"`)
	r.must("history", `"channel":"news.today"`)
	r.refused(wire.PermissionDenied, "publish", `"channel":"news.today","data":1`)
	r.refused(wire.PermissionDenied, "subscribe", `"channel":"chat.a"`)
	closed := start(t, ns, nil)
	if in := closed.open().connect("", ""); in.Error.Code != wire.Unauthenticated {
		t.Errorf("%+v", in)
	}
}

// A token whose key has to be asked for first: meanwhile what stands behind connect is held, and nobody else waits.
func TestTokenOfAKeySet(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			<-release
			_, _ = fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","x":%q}]}`, base64.RawURLEncoding.EncodeToString(public))
		}))
		defer issuer.Close()
		trust := auth.Trust{Secrets: [][]byte{secret}, JWKS: issuer.URL}
		v, err := trust.Verifier()
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		g := start(t, ns, func(o *gateway.Options) { change(o); o.Verifier, o.Loops = v, 1 })
		make := func(kid string) string {
			token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"sub": "ed", "jti": kid})
			token.Header["kid"] = kid
			text, err := token.SignedString(private)
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		ed := g.open()
		ed.send(`{"id":1,"connect":{"token":"` + make("k1") + `"}}{"id":2,"ping":{}}`)
		ed.send(`{"id":3,"ping":{}}`)
		alice := g.signIn("alice")
		alice.must("ping", "")
		close(release)
		if in := ed.next(); in.Kind != wire.KindConnect || in.Connect.User != "ed" {
			t.Fatalf("%+v", in)
		}
		for id := range uint64(2) {
			if in := ed.next(); in.ID != id+2 {
				t.Errorf("%+v", in)
			}
		}
		if in := g.open().connect(make("k2"), ""); in.Error.Code != wire.Unavailable {
			t.Errorf("a key that there is not: %+v", in)
		}
		if err := g.Revoke(t.Context(), access.Revocation{TokenID: "k1"}); err != nil {
			t.Fatal(err)
		}
		if code := ed.closes(); code != wire.Revoked {
			t.Errorf("closed with %v", code)
		}
	})
}
