package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of a request.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp" // Unix seconds, of this attempt
	HeaderSignature = "webhook-signature" // one "v1,BASE64" for each secret, parted by spaces
)

// The length of a secret in bytes, as the specification has it.
const (
	MinSecret = 24
	MaxSecret = 64
)

const secretPrefix = "whsec_"

// ParseSecret reads a secret as the specification writes it: "whsec_" and base64, or the base64 alone.
func ParseSecret(text string) ([]byte, error) {
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, secretPrefix))
	if err != nil || len(secret) < MinSecret || len(secret) > MaxSecret {
		return nil, fmt.Errorf("%w: a secret is whsec_ and %d to %d bytes in base64; make one: echo whsec_$(openssl rand -base64 32)", ErrInvalid, MinSecret, MaxSecret)
	}
	return secret, nil
}

// Sign returns the signature of a body that is sent at a time, without a version.
func Sign(secret []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// setHeaders signs a request with each secret.
func setHeaders(h http.Header, secrets [][]byte, id string, at time.Time, body []byte) {
	h.Set(HeaderID, id)
	h.Set(HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		signatures[i] = "v1," + Sign(secret, id, at, body)
	}
	h.Set(HeaderSignature, strings.Join(signatures, " "))
}
