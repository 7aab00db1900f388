package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keys are one of each type, made once.
var keys = sync.OnceValue(func() (k struct {
	rsa, other       *rsa.PrivateKey
	p256, p384, p521 *ecdsa.PrivateKey
	ed               ed25519.PrivateKey
}) {
	k.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	k.other, _ = rsa.GenerateKey(rand.Reader, 2048)
	k.p256, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.p384, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	k.p521, _ = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, k.ed, _ = ed25519.GenerateKey(rand.Reader)
	return k
})

// signed makes a token for alice with any algorithm and key; kid may be empty.
func signed(t testing.TB, alg string, key any, kid string) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.GetSigningMethod(alg), jwt.MapClaims{"sub": "alice"})
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatalf("%s: %v", alg, err)
	}
	return text
}

func trusting(t testing.TB, trust Trust) *Verifier {
	t.Helper()
	v, err := trust.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// A key is good for the algorithms of its type, and for no other.
func TestKeysAndAlgorithms(t *testing.T) {
	k := keys()
	secrets := [][]byte{[]byte(strings.Repeat("x", 32)), secret}
	verifiers := map[string]*Verifier{
		"secrets": trusting(t, Trust{Secrets: secrets}),
		"rsa":     trusting(t, Trust{PublicKeys: []crypto.PublicKey{&k.other.PublicKey, &k.rsa.PublicKey}}),
		"p256":    trusting(t, Trust{PublicKeys: []crypto.PublicKey{&k.p256.PublicKey}}),
		"p384":    trusting(t, Trust{PublicKeys: []crypto.PublicKey{&k.p384.PublicKey}}),
		"p521":    trusting(t, Trust{PublicKeys: []crypto.PublicKey{&k.p521.PublicKey}}),
		"ed":      trusting(t, Trust{PublicKeys: []crypto.PublicKey{k.ed.Public()}}),
	}
	for _, c := range []struct {
		alg   string
		key   any
		takes string
	}{
		{"HS256", secret, "secrets"}, {"HS384", secret, "secrets"}, {"HS512", secret, "secrets"}, {"HS256", secrets[0], "secrets"},
		{"RS256", k.rsa, "rsa"}, {"RS384", k.rsa, "rsa"}, {"RS512", k.rsa, "rsa"}, {"PS256", k.rsa, "rsa"}, {"PS512", k.rsa, "rsa"}, {"RS256", k.other, "rsa"},
		{"ES256", k.p256, "p256"}, {"ES384", k.p384, "p384"}, {"ES512", k.p521, "p521"}, {"EdDSA", k.ed, "ed"},
	} {
		token := signed(t, c.alg, c.key, "some-kid")
		for name, v := range verifiers {
			for range 2 { // the second time the header is known
				g, err := v.Verify(token, now)
				if (err == nil) != (name == c.takes) || err != nil && !errors.Is(err, ErrBadToken) || err == nil && g.User != "alice" {
					t.Errorf("%s for %s: %+v, %v", c.alg, name, g, err)
				}
			}
		}
		v := verifiers[c.takes]
		forged := token[:len(token)-8] + "AAAAAAAA"
		if _, err := v.Verify(forged, now); !errors.Is(err, ErrBadToken) {
			t.Errorf("%s, forged: %v", c.alg, err)
		}
	}
}

// What is public is no secret: a token signed by HMAC with a public key, in whatever form, is refused, and so is one without a signature.
func TestAlgorithmConfusion(t *testing.T) {
	k := keys()
	public := []crypto.PublicKey{&k.rsa.PublicKey, &k.p256.PublicKey, k.ed.Public()}
	both := trusting(t, Trust{Secrets: [][]byte{secret}, PublicKeys: public})
	alone := trusting(t, Trust{PublicKeys: public})
	var forged []string
	for _, key := range public {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		for _, alg := range []string{"HS256", "HS384", "HS512"} {
			forged = append(forged, signed(t, alg, der, ""), signed(t, alg, block, ""), signed(t, alg, []byte(strings.TrimSpace(string(block))), ""))
		}
	}
	forged = append(forged, signed(t, "HS256", k.rsa.N.Bytes(), ""), signed(t, "HS256", []byte(k.ed.Public().(ed25519.PublicKey)), ""))
	good := signed(t, "RS256", k.rsa, "")
	_, rest, _ := strings.Cut(good, ".")
	payload, sig, _ := strings.Cut(rest, ".")
	for _, header := range []string{`{"alg":"none"}`, `{"alg":"None"}`, `{"alg":""}`, `{}`, `{"alg":null}`, `{"alg":["RS256"]}`, `{"alg":"HS256"}`, `{"alg":"PS256"}`, `{"alg":"ES256"}`, `{"alg":"EdDSA"}`, `{"alg":"rs256"}`, `{"alg":"RS256","crit":["exp"]}`} {
		forged = append(forged, b64(header)+"."+payload+"."+sig, b64(header)+"."+payload+".")
	}
	for i, token := range forged {
		for name, v := range map[string]*Verifier{"with a secret": both, "without": alone} {
			if _, err := v.Verify(good, now); err != nil {
				t.Fatal(err)
			}
			if g, err := v.Verify(token, now); !errors.Is(err, ErrBadToken) {
				t.Errorf("%d, %s: %+v, %v", i, name, g, err)
			}
		}
	}
	if _, err := alone.Verify(raw(hs256, `{"sub":"alice"}`), now); !errors.Is(err, ErrBadToken) {
		t.Errorf("HMAC where there is no secret: %v", err)
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	weak, _ := rsa.GenerateKey(rand.Reader, 1024)
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	huge := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 9000), E: 65537}
	for name, c := range map[string]struct {
		trust Trust
		err   error
	}{
		"nothing":      {Trust{}, ErrNoKeys},
		"short secret": {Trust{Secrets: [][]byte{secret, []byte("short")}}, ErrWeakSecret},
		"short RSA":    {Trust{PublicKeys: []crypto.PublicKey{&weak.PublicKey}}, ErrBadKey},
		"huge RSA":     {Trust{PublicKeys: []crypto.PublicKey{huge}}, ErrBadKey},
		"P-224":        {Trust{PublicKeys: []crypto.PublicKey{&p224.PublicKey}}, ErrBadKey},
		"private":      {Trust{PublicKeys: []crypto.PublicKey{keys().rsa}}, ErrBadKey},
		"a text":       {Trust{PublicKeys: []crypto.PublicKey{"key"}}, ErrBadKey},
	} {
		if v, err := c.trust.Verifier(); v != nil || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
	}
}

func TestClaimRules(t *testing.T) {
	rules := Trust{Secrets: [][]byte{secret}, Issuers: []string{"https://id.example", "b"}, Audiences: []string{"chat", "jetwire"}, Leeway: 5 * time.Second}
	life := Trust{Secrets: [][]byte{secret}, MaxLifetime: time.Hour}
	must := Trust{Secrets: [][]byte{secret}, RequireExpiry: true}
	ours := `"iss":"b","aud":"chat",`
	for _, c := range []struct {
		trust   Trust
		payload string
		why     string // empty: it is good
	}{
		{rules, ours + `"x":1`, ""},
		{rules, `"iss":"https://id.example","aud":["x","jetwire"]`, ""},
		{rules, `"aud":"chat"`, "iss"},
		{rules, `"iss":"https://id.example/","aud":"chat"`, "iss"},
		{rules, `"iss":"","aud":"chat"`, "iss"},
		{rules, `"iss":"b"`, "aud"},
		{rules, `"iss":"b","aud":[]`, "aud"},
		{rules, `"iss":"b","aud":"Chat"`, "aud"},
		{rules, ours + `"exp":1799999995.001`, ""},
		{rules, ours + `"exp":1799999995`, "expired"},
		{rules, ours + `"nbf":1800000005`, ""},
		{rules, ours + `"nbf":1800000005.001`, "not valid yet"},
		{rules, ours + `"iat":1800000005`, ""},
		{rules, ours + `"iat":1800000006`, "not valid yet"},
		{Trust{Secrets: [][]byte{secret}, Issuers: []string{}, Audiences: []string{}}, `"iss":"x"`, ""},
		{must, `"x":1`, "exp"},
		{must, `"exp":1800000001`, ""},
		{life, `"exp":1800000001`, "iat"},
		{life, `"iat":1800000000`, "exp"},
		{life, `"iat":1799999000,"exp":1800002600`, ""},
		{life, `"iat":1799999000,"exp":1800002601`, "too long"},
	} {
		v := trusting(t, c.trust)
		g, err := v.Verify(raw(hs256, `{"sub":"alice",`+c.payload+`}`), now)
		if c.why == "" && (err != nil || g.Expired(now)) || c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%s: %+v, %v; want %q", c.payload, g, err, c.why)
		}
	}
	// The grant ends when the token does, with the leeway.
	g, err := trusting(t, rules).Verify(raw(hs256, `{"sub":"alice",`+ours+`"exp":1800000001}`), now)
	if err != nil || g.Expires != now.UnixMilli()+6000 {
		t.Errorf("%+v, %v", g, err)
	}
}

// What a Signer makes is good where its issuer and audience are asked for.
func TestSigner(t *testing.T) {
	s := Signer{Secret: secret, Issuer: "b", Audience: "chat"}
	token, err := s.Sign(Grant{User: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	v := trusting(t, Trust{Secrets: [][]byte{secret}, Issuers: []string{"b"}, Audiences: []string{"chat"}})
	if g, err := v.Verify(token, time.Now()); err != nil || g.User != "alice" {
		t.Errorf("%+v, %v", g, err)
	}
	if _, err := verifier(t).Verify(token, time.Now()); !errors.Is(err, ErrBadToken) {
		t.Errorf("for another audience: %v", err)
	}
}

func TestReadPublicKeys(t *testing.T) {
	k := keys()
	block := func(kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	pkix := func(key any) string { der, err := x509.MarshalPKIXPublicKey(key); return block("PUBLIC KEY", der, err) }
	private, err := x509.MarshalPKCS8PrivateKey(k.ed)
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	for name, c := range map[string]struct {
		text string
		n    int
	}{
		"each type":   {pkix(&k.rsa.PublicKey) + "and\n" + pkix(&k.p256.PublicKey) + pkix(k.ed.Public()), 3},
		"PKCS #1":     {block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&k.rsa.PublicKey), nil), 1},
		"certificate": {certificate(t, k.p256), 1},
		"private":     {block("PRIVATE KEY", private, err), 0},
		"not usable":  {pkix(&p224.PublicKey), 0},
		"damaged":     {block("PUBLIC KEY", []byte("x"), nil), 0},
		"empty":       {"", 0},
		"no PEM":      {"ssh-ed25519 AAAA", 0},
	} {
		path := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := ReadPublicKeys(path)
		if len(list) != c.n || (c.n == 0) != errors.Is(err, ErrBadKey) {
			t.Errorf("%s: %d keys, %v", name, len(list), err)
		}
		if c.n > 0 {
			trusting(t, Trust{PublicKeys: list})
		}
	}
	if _, err := ReadPublicKeys(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func certificate(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// FuzzPublicVerify: no header and signature make a token good that was not signed with one of the keys.
func FuzzPublicVerify(f *testing.F) {
	k := keys()
	v := trusting(f, Trust{PublicKeys: []crypto.PublicKey{&k.rsa.PublicKey, &k.p256.PublicKey, k.ed.Public()}, Secrets: [][]byte{secret}})
	good := map[string]bool{}
	for alg, key := range map[string]any{"RS256": k.rsa, "ES256": k.p256, "EdDSA": k.ed, "HS256": secret} {
		token := signed(f, alg, key, "")
		good[token] = true
		f.Add(token)
	}
	f.Add(b64(`{"alg":"none"}`) + "." + b64(`{"sub":"a"}`) + ".")
	f.Fuzz(func(t *testing.T, token string) {
		g, err := v.Verify(token, now)
		if (g == nil) == (err == nil) {
			t.Fatalf("grant %v and error %v", g, err)
		}
		if g == nil || good[token] {
			return
		}
		// ECDSA's signatures can be rewritten (s and -s); what is signed cannot.
		text, _, _ := cutLast(token)
		for known := range good {
			if same, _, _ := cutLast(known); same == text {
				return
			}
		}
		t.Errorf("accepted %s", token)
	})
}

func cutLast(token string) (text, signature string, ok bool) {
	i := strings.LastIndexByte(token, '.')
	if i < 0 {
		return token, "", false
	}
	return token[:i], token[i+1:], true
}

func BenchmarkVerifyPublic(b *testing.B) {
	k := keys()
	for _, c := range []struct {
		alg    string
		key    any
		public crypto.PublicKey
	}{{"RS256", k.rsa, &k.rsa.PublicKey}, {"ES256", k.p256, &k.p256.PublicKey}, {"EdDSA", k.ed, k.ed.Public()}} {
		b.Run(fmt.Sprint(c.alg), func(b *testing.B) {
			v, token := trusting(b, Trust{PublicKeys: []crypto.PublicKey{c.public}}), signed(b, c.alg, c.key, "k")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(token, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
