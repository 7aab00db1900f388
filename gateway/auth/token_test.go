package auth

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

var (
	secret = []byte("0123456789abcdef0123456789abcdef")
	now    = time.Unix(1_800_000_000, 0)
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// raw makes a token by hand, with a good signature over whatever header and payload are.
func raw(header, payload string) string {
	text := b64(header) + "." + b64(payload)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return text + "." + b64(string(mac.Sum(nil)))
}

const hs256 = `{"alg":"HS256","typ":"JWT"}`

func verifier(t testing.TB) *Verifier {
	v, err := NewVerifier(secret)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVerifyReadsWhatSignWrote(t *testing.T) {
	g := Grant{User: "alice", TokenID: "t1", Expires: time.Now().Add(time.Hour).Truncate(time.Second).UnixMilli(),
		Patterns: &Patterns{Subscribe: []string{"chat.>", "user.{user}.*"}, Publish: []string{}}}
	token, err := Sign(secret, g)
	if err != nil {
		t.Fatal(err)
	}
	got, err := verifier(t).Verify(token, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if age := time.Now().UnixMilli() - got.Issued; age < 0 || age > time.Minute.Milliseconds() {
		t.Errorf("issued %d ms ago", age)
	}
	want := g
	want.Issued = got.Issued
	want.Patterns = &Patterns{Subscribe: []string{"chat.>", "user.alice.*"}, Publish: []string{}}
	if d := cmp.Diff(&want, got); d != "" {
		t.Error(d)
	}
	if got.Patterns[Publish] == nil || got.Patterns[History] != nil {
		t.Errorf("an empty list came back as %v, an absent one as %v", got.Patterns[Publish], got.Patterns[History])
	}
	if g.Patterns[Subscribe][1] != "user.{user}.*" {
		t.Error("Sign changed the caller's patterns")
	}
}

func TestDecodeReadsWhatEncodeWrote(t *testing.T) {
	g := Grant{User: "alice", TokenID: "t1", Expires: now.UnixMilli(), Patterns: &Patterns{Call: []string{"billing.{user}.>"}, Command: []string{}}}
	text, err := EncodeGrant(g)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeGrant(text, now.Add(-1))
	if err != nil {
		t.Fatal(err)
	}
	g.Issued, g.Patterns = got.Issued, &Patterns{Call: []string{"billing.alice.>"}, Command: []string{}}
	if d := cmp.Diff(&g, got); d != "" || got.Issued == 0 {
		t.Error(d)
	}
	if _, err := DecodeGrant(text, now); !errors.Is(err, ErrExpired) {
		t.Error(err)
	}
	if _, err := DecodeGrant(text[1:], now); !errors.Is(err, ErrBadToken) {
		t.Error(err)
	}
	if _, err := EncodeGrant(Grant{User: "~a"}); !errors.Is(err, ErrBadToken) {
		t.Error(err)
	}
}

// What a token says of its time of issue is read to the millisecond, whatever fractions a float64 has.
func TestTimesToTheMillisecond(t *testing.T) {
	for ms := now.UnixMilli() - 1000; ms < now.UnixMilli(); ms++ {
		text, err := (&claims{Subject: "alice", IssuedAt: instant{time.UnixMilli(ms)}}).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if g, err := DecodeGrant(text, now); err != nil || g.Issued != ms {
			t.Fatalf("%s: %+v, %v; want %d", text, g, err, ms)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := raw(hs256, `{"sub":"alice"}`)
	parts := strings.Split(good, ".")
	rs, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"sub": "alice"}).SignedString(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"sub": "alice"}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	claim := func(s string) string { return raw(hs256, s) }
	for _, c := range []struct{ name, token, why string }{
		{"empty", "", "not a JSON web token"},
		{"two parts", parts[0] + "." + parts[1], "not a JSON web token"},
		{"four parts", good + ".x", "not a JSON web token"},
		{"white space around", " " + good, "not a JSON web token"},
		{"padding", good + "=", "signature"},
		{"too long", claim(`{"sub":"alice","x":"` + strings.Repeat("x", 8192) + `"}`), "too long"},
		{"header no JSON", raw(`x`, `{"sub":"alice"}`), "not a JSON web token"},
		{"header null", raw(`null`, `{"sub":"alice"}`), "algorithm"},
		{"no alg", raw(`{}`, `{"sub":"alice"}`), "algorithm"},
		{"unknown alg", raw(`{"alg":"HS257"}`, `{"sub":"alice"}`), "algorithm"},
		{"alg in lower case", raw(`{"alg":"hs256"}`, `{"sub":"alice"}`), "algorithm"},
		{"alg none, unsigned", none, "algorithm"},
		{"alg none, header edited", b64(`{"alg":"none"}`) + "." + parts[1] + ".", "algorithm"},
		{"alg none, signed as HS256", raw(`{"alg":"none"}`, `{"sub":"alice"}`), "algorithm"},
		{"alg RS256, signed with HMAC", raw(`{"alg":"RS256"}`, `{"sub":"alice"}`), "algorithm"},
		{"alg RS256, signed with RSA", rs, "algorithm"},
		{"alg HS256, signed with RSA", confuse(t, rsaKey), "signature"},
		{"crit", raw(`{"alg":"HS256","crit":["b64"],"b64":false}`, `{"sub":"alice"}`), "extension"},
		{"payload altered", parts[0] + "." + b64(`{"sub":"mallory"}`) + "." + parts[2], "signature"},
		{"signature missing", parts[0] + "." + parts[1] + ".", "signature"},
		{"signature cut", good[:len(good)-3], "signature"},
		{"payload null", claim(`null`), "wrong type"},
		{"payload a list", claim(`[]`), "wrong type"},
		{"sub missing", claim(`{}`), "sub is missing"},
		{"sub empty", claim(`{"sub":""}`), "sub is missing"},
		{"sub a number", claim(`{"sub":1}`), "wrong type"},
		{"sub too long", claim(`{"sub":"` + strings.Repeat("x", 129) + `"}`), "too long"},
		{"sub with a header in it", claim(`{"sub":"a\r\nJw-From: b"}`), "control characters"},
		{"sub anonymous", claim(`{"sub":"~a1"}`), "begins with ~"},
		{"sub with a space behind", claim(`{"sub":"a "}`), "space"},
		{"not yet", claim(`{"sub":"alice","nbf":1800000001}`), "not valid yet"},
		{"issued in the future", claim(`{"sub":"alice","iat":1800000001}`), "not valid yet"},
		{"iss a number", claim(`{"sub":"alice","iss":1}`), "wrong type"},
		{"kid a number", raw(`{"alg":"HS256","kid":1}`, `{"sub":"alice"}`), "kid"},
		{"exp null", claim(`{"sub":"alice","exp":null}`), "wrong type"},
		{"exp a string", claim(`{"sub":"alice","exp":"1900000000"}`), "wrong type"},
		{"exp beyond time", claim(`{"sub":"alice","exp":1e300}`), "wrong type"},
		{"exp negative", claim(`{"sub":"alice","exp":-1}`), "wrong type"},
		{"for another service", claim(`{"sub":"alice","aud":"billing"}`), "aud"},
		{"for other services", claim(`{"sub":"alice","aud":["billing","mail"]}`), "aud"},
		{"patterns null", claim(`{"sub":"alice","publish":null}`), "wrong type"},
		{"patterns a string", claim(`{"sub":"alice","publish":"chat.>"}`), "wrong type"},
		{"a pattern null", claim(`{"sub":"alice","publish":["chat.>",null]}`), "wrong type"},
		{"a pattern outside the grammar", claim(`{"sub":"alice","history":["chat..x"]}`), "pattern"},
		{"the user a wildcard", claim(`{"sub":"*","subscribe":["user.{user}"]}`), "cannot stand"},
		{"the user all that follows", claim(`{"sub":">","subscribe":["user.{user}"]}`), "cannot stand"},
		{"the user two tokens", claim(`{"sub":"a.b","subscribe":["user.{user}"]}`), "cannot stand"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, err := verifier(t).Verify(c.token, now)
			if g != nil || !errors.Is(err, ErrBadToken) {
				t.Fatalf("got %v, %v; want ErrBadToken", g, err)
			}
			if !strings.Contains(err.Error(), c.why) {
				t.Errorf("the error is %q; want it to say %q", err, c.why)
			}
		})
	}
}

// confuse makes a token whose header says HS256 and whose signature is RSA's.
func confuse(t *testing.T, key *rsa.PrivateKey) string {
	text := b64(hs256) + "." + b64(`{"sub":"alice"}`)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64(string(sig))
}

func TestVerifyAccepts(t *testing.T) {
	for _, c := range []struct {
		name, payload string
		want          Grant
	}{
		{"a user alone", `{"sub":"alice"}`, Grant{User: "alice"}},
		{"foreign claims", `{"sub":"alice","iss":"x","name":"Alice","iat":1799999999.25}`, Grant{User: "alice", Issued: now.UnixMilli() - 750}},
		{"aud ours", `{"sub":"alice","aud":"jetwire"}`, Grant{User: "alice"}},
		{"aud ours among others", `{"sub":"alice","aud":["x","jetwire"]}`, Grant{User: "alice"}},
		{"from this second on", `{"sub":"alice","nbf":1800000000,"exp":1800000000.5}`,
			Grant{User: "alice", Expires: now.Add(time.Second / 2).UnixMilli()}},
		{"an address as the user", `{"sub":"alice@example.com","publish":["chat.*"]}`,
			Grant{User: "alice@example.com", Patterns: &Patterns{Publish: []string{"chat.*"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, err := verifier(t).Verify(raw(hs256, c.payload), now)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(&c.want, g); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestVerifyExpired(t *testing.T) {
	token := raw(hs256, `{"sub":"alice","exp":1800000000}`)
	for _, c := range []struct {
		at   time.Time
		want error
	}{{now.Add(-time.Nanosecond), nil}, {now, ErrExpired}, {now.Add(time.Hour), ErrExpired}} {
		if _, err := verifier(t).Verify(token, c.at); !errors.Is(err, c.want) {
			t.Errorf("at %v: %v, want %v", c.at, err, c.want)
		}
	}
	forged := token[:len(token)-6] + "AAAAAA"
	if _, err := verifier(t).Verify(forged, now); !errors.Is(err, ErrBadToken) {
		t.Errorf("a forged token that has expired: %v, want ErrBadToken", err)
	}
}

func TestAnotherSecretIsRefused(t *testing.T) {
	token, err := Sign([]byte(strings.Repeat("x", 32)), Grant{User: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verifier(t).Verify(token, now); !errors.Is(err, ErrBadToken) {
		t.Error(err)
	}
}

func TestWeakSecrets(t *testing.T) {
	for _, s := range []string{"", "short", strings.Repeat("x", 31)} {
		if _, err := NewVerifier([]byte(s)); !errors.Is(err, ErrWeakSecret) {
			t.Errorf("NewVerifier with %d bytes: %v", len(s), err)
		}
		if _, err := Sign([]byte(s), Grant{User: "alice"}); !errors.Is(err, ErrWeakSecret) {
			t.Errorf("Sign with %d bytes: %v", len(s), err)
		}
	}
}

func TestSignRefusesWhatVerifyWould(t *testing.T) {
	many := make([]string, 400)
	for i := range many {
		many[i] = "chat." + strings.Repeat("x", 20)
	}
	for name, g := range map[string]Grant{
		"no user":      {},
		"bad pattern":  {User: "alice", Patterns: &Patterns{Publish: []string{"a b.c"}}},
		"bad for user": {User: "a.b", Patterns: &Patterns{Publish: []string{"user.{user}"}}},
		"too long":     {User: "alice", Patterns: &Patterns{Publish: many}},
	} {
		if token, err := Sign(secret, g); token != "" || err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}

// TestVerifyAllocations: the grant, its user, and three numbers and texts on the way.
func TestVerifyAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool forgets on purpose under the race detector")
	}
	token, v := raw(hs256, `{"sub":"alice","exp":1900000000,"iat":1700000000}`), verifier(t)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := v.Verify(token, now); err != nil {
			t.Fatal(err)
		}
	}); n > 4 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzVerify: no input panics, none but a signed one is accepted, and no error repeats its input.
func FuzzVerify(f *testing.F) {
	f.Add(raw(hs256, `{"sub":"alice","exp":1900000000,"subscribe":["chat.>"]}`))
	f.Add(raw(`{"alg":"none"}`, `{"sub":"alice"}`))
	f.Add("a.b.c")
	v := verifier(f)
	f.Fuzz(func(t *testing.T, token string) {
		g, err := v.Verify(token, now)
		if (g == nil) == (err == nil) {
			t.Fatalf("grant %v and error %v", g, err)
		}
		if err != nil && len(token) > 40 && strings.Contains(err.Error(), token[:40]) {
			t.Errorf("the error repeats the token: %v", err)
		}
		if g != nil {
			checkSignature(t, token)
		}
	})
}

func checkSignature(t *testing.T, token string) {
	parts := strings.Split(token, ".")
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(parts[0] + "." + parts[1]))
	if len(parts) != 3 || parts[2] != b64(string(mac.Sum(nil))) {
		t.Errorf("accepted a token that is not signed: %s", token)
	}
}

// FuzzClaims: whatever a signed payload holds, nothing panics, and a grant's patterns and user keep their promises.
func FuzzClaims(f *testing.F) {
	f.Add(`{"sub":"alice","exp":1900000000,"subscribe":["chat.>","user.{user}"],"publish":[]}`)
	f.Add(`{"sub":"*","aud":["jetwire"],"history":[null]}`)
	v := verifier(f)
	f.Fuzz(func(t *testing.T, payload string) {
		g, err := v.Verify(raw(hs256, payload), now)
		if err != nil {
			return
		}
		if CheckUser(g.User) != nil || g.Expired(now) {
			t.Errorf("granted %+v", g)
		}
		var m map[string]any
		if json.Unmarshal([]byte(payload), &m) != nil || m["sub"] != g.User {
			t.Errorf("granted %+v for %s", g, payload)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	token, err := Sign(secret, Grant{User: "alice", TokenID: "0123456789", Expires: time.Now().Add(time.Hour).UnixMilli(),
		Patterns: &Patterns{Subscribe: []string{"chat.>", "user.{user}.>"}, Publish: []string{"chat.*"}}})
	if err != nil {
		b.Fatal(err)
	}
	v, at := verifier(b), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(token, at); err != nil {
			b.Fatal(err)
		}
	}
}
