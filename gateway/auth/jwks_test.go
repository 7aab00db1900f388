package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// jwk writes a public key as a JWKS has it; more are further members.
func jwk(kid string, key crypto.PublicKey, more string) string {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		point, _ := k.Bytes() // 4, X, Y
		size := len(point) / 2
		x, y := base64url.EncodeToString(point[1:1+size]), base64url.EncodeToString(point[1+size:])
		return fmt.Sprintf(`{"kty":"EC","kid":%q,"crv":%q,"x":%q,"y":%q%s}`, kid, k.Params().Name, x, y, more)
	case ed25519.PublicKey:
		return fmt.Sprintf(`{"kty":"OKP","kid":%q,"crv":"Ed25519","x":%q%s}`, kid, base64url.EncodeToString(k), more)
	}
	return fmt.Sprintf(`{"kty":"RSA","kid":%q,"n":%q,"e":"AQAB"%s}`, kid, base64url.EncodeToString(keys().rsa.N.Bytes()), more)
}

func jwks(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

// issuer serves a JWKS without a network, so that time can be simulated.
type issuer struct {
	mu    sync.Mutex
	set   string
	away  bool
	slow  time.Duration
	asked int
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	i.asked++
	set, away, slow := i.set, i.away, i.slow
	i.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if away {
		return nil, errors.New("nobody answers")
	}
	w := httptest.NewRecorder()
	_, _ = w.WriteString(set)
	return w.Result(), nil
}

func (i *issuer) serve(set string, away bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.set, i.away = set, away
}

func (i *issuer) requests() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked
}

func (i *issuer) verifier(t *testing.T) *Verifier {
	return trusting(t, Trust{JWKS: "https://id.example/keys", Client: &http.Client{Transport: i}})
}

// fetch is what a connection does: Verify, and if that takes longer, Fetch.
func fetch(v *Verifier, token string) (err error) {
	if _, err = v.Verify(token, time.Now()); errors.Is(err, ErrLater) {
		done := make(chan error, 1)
		v.Fetch(token, func(_ *Grant, err error) { done <- err })
		err = <-done
	}
	return err
}

// TestKeysRotate: a new key is asked for when a token names it; an old one that the issuer drops is good no more.
func TestKeysRotate(t *testing.T) {
	k := keys()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{set: jwks(jwk("a", &k.p256.PublicKey, ""))}
		v := i.verifier(t)
		a, b := signed(t, "ES256", k.p256, "a"), signed(t, "EdDSA", k.ed, "b")
		if err := fetch(v, a); err != nil {
			t.Fatal(err) // it waits for the first answer
		}
		time.Sleep(keyPacing.least)
		i.serve(jwks(jwk("b", k.ed.Public(), "")), false)
		if err := fetch(v, a); err != nil || i.requests() != 1 {
			t.Fatalf("a known key: %v after %d requests", err, i.requests())
		}
		if err := fetch(v, b); err != nil || i.requests() != 2 {
			t.Fatalf("a new key: %v after %d requests", err, i.requests())
		}
		time.Sleep(keyPacing.least)
		if err := fetch(v, a); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a key that is gone: %v", err)
		}
		n := i.requests()
		time.Sleep(keyPacing.refresh + time.Second)
		if i.requests() != n+1 {
			t.Errorf("%d requests in the time of one", i.requests()-n)
		}
	})
}

// TestMadeUpKeys: however many tokens name keys that there are not, the issuer is asked no more often than pacing says, and the others
// are refused at once.
func TestMadeUpKeys(t *testing.T) {
	k := keys()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{set: jwks(jwk("a", &k.p256.PublicKey, ""))}
		v := i.verifier(t)
		good := signed(t, "ES256", k.p256, "a")
		if err := fetch(v, good); err != nil {
			t.Fatal(err)
		}
		const minutes = 3
		began, later := time.Now(), 0
		for n := 0; time.Since(began) < minutes*time.Minute; n++ {
			junk := b64(fmt.Sprintf(`{"alg":"ES256","kid":"junk-%d"}`, n)) + "." + b64(`{"sub":"eve"}`) + "." + strings.Repeat("A", 86)
			_, err := v.Verify(junk, time.Now())
			switch {
			case errors.Is(err, ErrLater):
				later++
				v.Fetch(junk, func(_ *Grant, err error) {
					if !errors.Is(err, ErrUnavailable) {
						t.Errorf("%v", err)
					}
				})
			case !errors.Is(err, ErrUnavailable):
				t.Fatal(err)
			}
			if err := fetch(v, good); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if most := int(minutes*time.Minute/keyPacing.least) + 2; i.requests() > most || i.requests() < 2 || later > 2*most {
			t.Errorf("%d requests, %d tokens that waited; want at most %d", i.requests(), later, most)
		}
	})
}

// TestIssuerAway: what was known holds while nobody answers, or nonsense comes; at the start tokens are told to come later.
func TestIssuerAway(t *testing.T) {
	k := keys()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{away: true}
		v := i.verifier(t)
		token := signed(t, "ES256", k.p256, "a")
		if err := fetch(v, token); !errors.Is(err, ErrUnavailable) {
			t.Errorf("before the first answer: %v", err)
		}
		i.serve(jwks(jwk("a", &k.p256.PublicKey, "")), false)
		time.Sleep(keyPacing.least + time.Second)
		if err := fetch(v, token); err != nil {
			t.Errorf("when it is there: %v", err)
		}
		for _, set := range []string{"", "{", `{"keys":[]}`, `{"keys":{}}`, jwks(strings.Repeat(" ", maxKeySet)), "<html>", strings.Repeat("[", 10000), jwks(strings.Repeat("{},", maxKeys) + "{}")} {
			i.serve(set, set == "")
			time.Sleep(2 * keyPacing.refresh)
			if err := fetch(v, token); err != nil {
				t.Errorf("%.20q: %v", set, err)
			}
		}
		// One that hangs ends by its own time, and by Close.
		i.mu.Lock()
		i.slow = time.Hour
		i.mu.Unlock()
		began := time.Now()
		if err := fetch(v, signed(t, "ES256", k.p256, "b")); !errors.Is(err, ErrUnavailable) || time.Since(began) > 2*keyPacing.timeout {
			t.Errorf("one that hangs: %v after %v", err, time.Since(began))
		}
		time.Sleep(keyPacing.least)
		var waits atomic.Int32
		for range 3 {
			waits.Add(1)
			v.Fetch(token, func(*Grant, error) { waits.Add(-1) })
		}
		v.Close()
		if n := waits.Load(); n != 0 {
			t.Errorf("%d wait for ever", n)
		}
		v.Fetch(token, func(*Grant, error) { waits.Add(-1) })
		if waits.Load() != -1 {
			t.Error("no answer after Close")
		}
	})
}

// A key that is said to be for one algorithm is for no other of its type.
func TestAlgorithmOfAKey(t *testing.T) {
	k := keys()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{set: jwks(jwk("r", &k.rsa.PublicKey, `,"alg":"RS256"`))}
		v := i.verifier(t)
		for alg, good := range map[string]bool{"RS256": true, "PS256": false, "RS512": false} {
			if err := fetch(v, signed(t, alg, k.rsa, "r")); (err == nil) != good || err != nil && !errors.Is(err, ErrBadToken) {
				t.Errorf("%s: %v", alg, err)
			}
		}
	})
}

// What of a JWKS counts, and what does not.
func TestKeysOfASet(t *testing.T) {
	k := keys()
	good := jwk("a", &k.p256.PublicKey, "")
	for name, c := range map[string]struct {
		set  string
		algs string // of the first key; empty: no key
	}{
		"RSA":                     {jwks(jwk("r", &k.rsa.PublicKey, `,"use":"sig"`)), "[RS256 RS384 RS512 PS256 PS384 PS512]"},
		"RSA for one algorithm":   {jwks(jwk("r", &k.rsa.PublicKey, `,"alg":"RS256"`)), "[RS256]"},
		"RSA for ECDSA":           {jwks(jwk("r", &k.rsa.PublicKey, `,"alg":"ES256"`)), ""},
		"RSA for HMAC":            {jwks(jwk("r", &k.rsa.PublicKey, `,"alg":"HS256"`)), ""},
		"EC":                      {jwks(jwk("e", &k.p384.PublicKey, `,"key_ops":["verify"]`)), "[ES384]"},
		"P-521":                   {jwks(jwk("e", &k.p521.PublicKey, "")), "[ES512]"},
		"Ed25519":                 {jwks(jwk("d", k.ed.Public(), "")), "[EdDSA]"},
		"for encryption":          {jwks(jwk("r", &k.rsa.PublicKey, `,"use":"enc"`)), ""},
		"for signing":             {jwks(jwk("e", &k.p384.PublicKey, `,"key_ops":["sign"]`)), ""},
		"a secret":                {jwks(`{"kty":"oct","kid":"s","k":"` + base64.RawURLEncoding.EncodeToString(secret) + `","alg":"HS256"}`), ""},
		"X25519":                  {jwks(`{"kty":"OKP","crv":"X25519","x":"` + strings.Repeat("A", 42) + `E"}`), ""},
		"weak RSA":                {jwks(`{"kty":"RSA","n":"` + strings.Repeat("B", 100) + `","e":"AQAB"}`), ""},
		"off the curve":           {jwks(strings.Replace(good, `"y":"`, `"y":"AA`, 1)), ""},
		"a certificate elsewhere": {jwks(jwk("e", &k.p256.PublicKey, `,"x5u":"http://127.0.0.1:1/"`)), "[ES256]"},
		"odd ones beside a good":  {jwks(`{}`, `null`, `1`, `{"kty":"?"}`, `{"kty":1}`, `{"kid":{}}`, good), "[ES256]"},
		"further members":         {`{"x":1,"keys":[` + good + `]}`, "[ES256]"},
		"a long kid":              {jwks(jwk(strings.Repeat("x", maxKeyID+1), &k.p256.PublicKey, "")), ""},
	} {
		list, err := readKeySet([]byte(c.set))
		if c.algs == "" && err == nil || c.algs != "" && (err != nil || len(list) != 1 || fmt.Sprint(list[0].algs) != c.algs) {
			t.Errorf("%s: %v, %v", name, list, err)
		}
	}
}

// Over a real socket: the body is bounded, redirects do not leave TLS, and neither the token nor the set is logged.
func TestKeySetOverHTTP(t *testing.T) {
	k := keys()
	var logged syncBuffer
	set := atomic.Pointer[string]{}
	serve := jwks(jwk("a", &k.p256.PublicKey, ""))
	set.Store(&serve)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, *set.Load()) }))
	defer server.Close()
	log := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	v := trusting(t, Trust{JWKS: server.URL, Logger: log})
	token := signed(t, "ES256", k.p256, "a")
	if err := fetch(v, token); err != nil {
		t.Error(err)
	}
	secure := httptest.NewTLSServer(http.RedirectHandler(server.URL, http.StatusFound))
	defer secure.Close()
	client := secure.Client()
	client.CheckRedirect = noDowngrade
	s := newKeySet(&Trust{JWKS: secure.URL, Client: client, Logger: log}, keyPacing)
	defer s.close()
	if err := s.ask(); err == nil || !strings.Contains(err.Error(), "from https") {
		t.Errorf("a redirect to http: %v", err)
	}
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for page := make([]byte, 1<<16); r.Context().Err() == nil; {
			if _, err := w.Write(page); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	e := newKeySet(&Trust{JWKS: endless.URL, Logger: log}, keyPacing)
	defer e.close()
	if err := e.ask(); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("an endless body: %v", err)
	}
	if text := logged.String(); strings.Contains(text, token[:40]) || strings.Contains(text, `"x"`) {
		t.Error(text)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

// FuzzKeySet: whatever is served, nothing panics, and what is taken is a key that may check something.
func FuzzKeySet(f *testing.F) {
	k := keys()
	f.Add([]byte(jwks(jwk("a", &k.p256.PublicKey, ""), jwk("r", &k.rsa.PublicKey, ""), jwk("d", k.ed.Public(), `,"alg":"EdDSA"`))))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := readKeySet(body)
		if (err == nil) != (len(list) > 0) || len(list) > maxKeys {
			t.Fatalf("%d keys, %v", len(list), err)
		}
		for _, k := range list {
			if len(k.algs) == 0 || algsOf(k.key) == nil || len(k.id) > maxKeyID {
				t.Errorf("%+v", k)
			}
		}
		if err == nil && !json.Valid(body) {
			t.Error("taken though it is no JSON")
		}
	})
}
