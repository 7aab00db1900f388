package gateway_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
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

// logged collects a log.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// say opens a socket, sends frames, and returns all that comes back until the last is answered or the socket ends.
func (g *running) say(frames ...string) string {
	g.t.Helper()
	r := g.open()
	defer func() { _ = r.conn.Close() }()
	for _, f := range frames {
		r.send(f)
	}
	r.send(`{"id":4711,"ping":{}}`)
	var said strings.Builder
	for {
		data, err := r.read()
		if err != nil {
			said.WriteString(err.Error()) // the reason of a close frame
			return said.String()
		}
		said.Write(data)
		if bytes.Contains(data, []byte(`{"id":4711,"ping":{}}`)) {
			return said.String()
		}
	}
}

// fetch returns all that an HTTP request brings back.
func (g *running) fetch(method, path, bearer, body string) string {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, "http://"+g.addr+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		req.Header.Set("Authorization", bearer)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	var said bytes.Buffer
	_ = res.Header.Write(&said)
	return said.String() + string(text)
}

// TestSecretsStaySecret: tokens, secrets and API keys, good ones and bad, are in no log, no metric and no answer.
func TestSecretsStaySecret(t *testing.T) {
	const key, weak, wrong = "the-api-key-of-a-backend", "the-api-key-for-metrics-only", "an-api-key-that-is-not-one"
	keys, err := auth.NewKeys(auth.APIKey{Key: key}, auth.APIKey{Key: weak, Name: "weak", Scopes: []auth.Scope{auth.ScopeInfo}})
	if err != nil {
		t.Fatal(err)
	}
	public, private, _ := ed25519.GenerateKey(rand.Reader)
	trust := auth.Trust{Secrets: [][]byte{secret}, PublicKeys: []crypto.PublicKey{public}}
	verifier, err := trust.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	var log logged
	g := start(t, natstest.Run(t), func(o *gateway.Options) {
		o.Verifier, o.APIKeys, o.Unified = verifier, keys, &gateway.Unified{}
		o.Sign = (&auth.Signer{Secret: secret}).Sign
		o.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})

	// What must not be seen: of a token the signature, of a ticket what follows its prefix.
	hidden := map[string]string{"the secret": string(secret), "the API key": key, "the weak API key": weak, "the wrong API key": wrong,
		"the secret in base64": base64.StdEncoding.EncodeToString(secret)}
	token := func(name, text string) string {
		parts := strings.Split(text, ".")
		hidden[name] = parts[len(parts)-1]
		if access.IsTicket(text) {
			hidden[name] = text[len(access.TicketPrefix)+8:]
		}
		return text
	}
	other, _ := auth.Sign([]byte(strings.Repeat("x", 32)), auth.Grant{User: "eve"})
	eddsa, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"sub": "ed"}).SignedString(private)
	if err != nil {
		t.Fatal(err)
	}
	revoked := sign(t, auth.Grant{User: "ron", TokenID: "r1"})
	if err := g.Revoke(t.Context(), access.Revocation{TokenID: "r1"}); err != nil {
		t.Fatal(err)
	}
	good := token("a good token", sign(t, auth.Grant{User: "alice"}))
	once := token("a ticket", ticket(t, g, auth.Grant{User: "tom"}))
	tokens := []string{
		good, once, once, // the second time it is used up
		token("a ticket that is altered", once[:30]+strings.ToUpper(once[30:40])+strings.ToLower(once[40:])),
		token("an EdDSA token", eddsa),
		token("an expired token", sign(t, auth.Grant{User: "old", Expires: time.Now().Add(-time.Hour).UnixMilli()})),
		token("a forged token", other),
		token("a revoked token", revoked),
		token("a token with bad claims", signClaims(t, jwt.MapClaims{"sub": "alice", "publish": "everything-there-is"})),
		token("a token for others", signClaims(t, jwt.MapClaims{"sub": "alice", "aud": "another-service"})),
		token("half a token", good[:len(good)-9]),
		token("no token at all", "this-is-the-password-of-alice"),
	}

	// Everything that takes one is given each.
	var said []string
	for _, tok := range tokens {
		quoted, _ := json.Marshal(tok)
		connect := `{"id":1,"connect":{"token":` + string(quoted)
		said = append(said,
			g.say(connect+`}}`, `{"id":2,"publish":{"channel":"chat.a","data":1}}`),
			g.say(connect+`,"device":"d"}}`, `{"id":2,"renew":{"token":`+string(quoted)+`}}`),
			g.say(connect+`,"unknown":1}}`),
			g.say(connect+`,"device":"`+strings.Repeat("d", 65)+`"}}`),
			g.say(`{"id":1,"connect":{"token":"`+good+`"}}`, `{"id":2,"renew":{"token":`+string(quoted)+`}}`, connect+`}}`),
			g.fetch("GET", "/websocket/token?uniqueId=zoe&clientType=app", "Bearer "+tok, ""),
			g.fetch("GET", "/socket/"+tok, "", ""),
			g.fetch("GET", "/ws?token="+tok, "", ""),
			g.fetch("POST", "/v1/publish", "Bearer "+tok, `{"channel":"chat.a","data":1}`),
		)
	}
	for _, auth := range []string{"Bearer " + wrong, "Bearer " + weak, "Basic " + key, key, "Bearer " + key + "," + key, "Bearer  " + key, "Bearer " + key} {
		for _, path := range []string{"/v1/publish", "/v1/revoke", "/v1/nothing", "/websocket/message", "/debug/pprof/nothing"} {
			said = append(said, g.fetch("POST", path, auth, `{"channel":"chat.a","data":1,"user":"x`+strings.Repeat("y", 200)+`"}`), g.fetch("GET", path, auth, ""))
		}
	}
	said = append(said, g.fetch("POST", "/v1/publish", "Bearer "+key, `{"channel":"chat.a","data":1}`), g.fetch("GET", "/metrics", "", ""), g.fetch("GET", "/readyz", "", ""))

	// Who asks for a token gets it, and nobody else sees it.
	for _, body := range []string{`{"user":"alice"}`, `{"user":"alice","one_time":true}`} {
		var r struct{ Token string }
		answer := g.fetch("POST", "/v1/token", "Bearer "+key, body)
		if err := json.Unmarshal([]byte(answer[strings.Index(answer, "{"):]), &r); err != nil || r.Token == "" {
			t.Fatalf("%s: %v", answer, err)
		}
		token("one that was made for "+body, r.Token)
		said = append(said, g.say(`{"id":1,"connect":{"token":"`+r.Token+`"}}`))
	}
	answer := g.fetch("GET", "/websocket/token?uniqueId=zoe&clientType=app", "Bearer "+key, "")
	_, ticket, _ := strings.Cut(answer, access.TicketPrefix)
	hidden["a socket's ticket"] = ticket[8:40]

	all := map[string]string{"the log": log.String(), "the answers": strings.Join(said, "\n"), "/metrics": g.fetch("GET", "/metrics", "", "")}
	for where, text := range all {
		for what, s := range hidden {
			if len(s) < 16 {
				t.Errorf("%s: %q is too short to look for", what, s)
			}
			if i := strings.Index(text, s); i >= 0 {
				t.Errorf("%s shows %s: …%s…", where, what, text[max(0, i-200):min(len(text), i+200)])
			}
		}
	}
	// The test sees what it looks at.
	for where, want := range map[string][]string{
		"the log":     {`"user":"alice"`, "token refused", "one-time token", "connected"},
		"the answers": {wire.BadToken.String(), wire.ExpiredToken.String(), wire.Revoked.String(), wire.BadRequest.String(), `"durability"`, `"renew":{"expires"`, "unauthenticated", "permission_denied"},
		"/metrics":    {`jetwire_errors_total{code="bad_token"}`},
	} {
		for _, w := range want {
			if !strings.Contains(all[where], w) {
				t.Errorf("%s lacks %q", where, w)
			}
		}
	}
}

func signClaims(t testing.TB, c jwt.MapClaims) string {
	t.Helper()
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
