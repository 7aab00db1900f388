package webhook

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The example of the specification's own libraries.
func TestSignatureOfTheSpecification(t *testing.T) {
	secret, err := ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := Sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEachSecretSigns(t *testing.T) {
	h := http.Header{}
	secrets := [][]byte{bytes.Repeat([]byte("a"), MinSecret), bytes.Repeat([]byte("b"), MinSecret)}
	at := time.Unix(1700000000, 0)
	setHeaders(h, secrets, "x-1", at, []byte("{}"))
	want := "v1," + Sign(secrets[0], "x-1", at, []byte("{}")) + " v1," + Sign(secrets[1], "x-1", at, []byte("{}"))
	if h.Get("webhook-signature") != want || h.Get("webhook-timestamp") != "1700000000" || h.Get("webhook-id") != "x-1" {
		t.Errorf("headers %v", h)
	}
}

func TestParseSecret(t *testing.T) {
	const raw = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" // 24 bytes
	for text, ok := range map[string]bool{
		raw: true, "whsec_" + raw: true, "whsec_" + strings.Repeat("A", 84) + "AA==": true,
		"": false, "whsec_": false, "whsec_c2hvcnQ=": false, "whsec_" + strings.Repeat("A", 88): false, "not base64 at all, but long enough": false,
	} {
		if _, err := ParseSecret(text); (err == nil) != ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		} else if err != nil && text != "" && strings.Contains(err.Error(), strings.TrimPrefix(text, "whsec_")) && text != "whsec_" {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}
