package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// TicketPrefix begins every ticket, and no JSON web token.
const TicketPrefix = "jw1_"

const (
	endBytes  = 6
	idBytes   = 16
	macBytes  = 16
	macFrom   = endBytes + idBytes
	rawTicket = macFrom + macBytes
)

var ticketText = base64.RawURLEncoding.Strict()

// TicketLen is the length of a ticket in bytes.
var TicketLen = len(TicketPrefix) + ticketText.EncodedLen(rawTicket)

// IsTicket says whether a token looks like a ticket.
func IsTicket(token string) bool { return strings.HasPrefix(token, TicketPrefix) }

// Issue makes a ticket that can be redeemed once for the use that it names, within ttl (1 second to MaxTTL), and stands for value.
func (s *Store) Issue(ctx context.Context, use string, value []byte, ttl time.Duration) (ticket string, err error) {
	if ttl < time.Second || ttl > MaxTTL {
		return "", fmt.Errorf("%w: a ticket lives from 1s to %v", ErrBadRequest, MaxTTL)
	}
	if len(value) > MaxValue {
		return "", fmt.Errorf("%w: a ticket stands for at most %d bytes", ErrBadRequest, MaxValue)
	}
	var raw [rawTicket]byte
	putEnd(raw[:], time.Now().Add(ttl))
	rand.Read(raw[endBytes:macFrom]) // never fails (crypto/rand)
	mac := s.mac(use, raw[:macFrom])
	copy(raw[macFrom:], mac[:])
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err = s.buckets.ticketKV().Create(ctx, nameOf(raw[:]), value, jetstream.KeyTTL((ttl + time.Second - 1).Truncate(time.Second)))
	if err != nil {
		return "", refused(err)
	}
	return TicketPrefix + ticketText.EncodeToString(raw[:]), nil
}

// Check returns nil if a ticket was issued for that use and has not ended: whether it was used before only Redeem can say. It
// asks nobody.
func (s *Store) Check(use, ticket string) error {
	_, err := s.open(use, ticket)
	return err
}

// Redeem uses a ticket up. done is called once, perhaps before Redeem returns: with the value; with ErrInvalid; or with
// ErrUnavailable, and then the ticket may be used up all the same.
func (s *Store) Redeem(use, ticket string, done func(value []byte, err error)) {
	name, err := s.open(use, ticket)
	if err != nil {
		done(nil, err)
		return
	}
	select {
	case s.slots <- struct{}{}:
	default:
		done(nil, unavailable(errors.New("too many tickets at once")))
		return
	}
	free := func() { <-s.slots }
	if !s.goWork(func() { defer free(); done(s.redeem(name)) }) {
		free()
		done(nil, unavailable(errors.New("closed")))
	}
}

func (s *Store) redeem(name string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	kv := s.buckets.ticketKV()
	e, err := kv.Get(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound): // or deleted
		return nil, ErrInvalid
	case err != nil:
		return nil, unavailable(err)
	}
	// The mark that it was deleted need not stay: no revision is used twice.
	if err := kv.Purge(ctx, name, jetstream.LastRevision(e.Revision()), jetstream.PurgeTTL(time.Second)); err != nil {
		return nil, refused(err)
	}
	return e.Value(), nil
}

// open checks a ticket and returns its name in the bucket.
func (s *Store) open(use, ticket string) (name string, err error) {
	text, ok := strings.CutPrefix(ticket, TicketPrefix)
	var raw [rawTicket]byte
	if !ok || len(ticket) != TicketLen {
		return "", ErrInvalid
	}
	if _, err := ticketText.Decode(raw[:], []byte(text)); err != nil {
		return "", ErrInvalid
	}
	mac := s.mac(use, raw[:macFrom])
	if subtle.ConstantTimeCompare(mac[:], raw[macFrom:]) == 0 || !time.Now().Before(endOf(raw[:])) {
		return "", ErrInvalid
	}
	return nameOf(raw[:]), nil
}

func (s *Store) mac(use string, raw []byte) (mac [macBytes]byte) {
	h := hmac.New(sha256.New, s.key.Load()[:])
	h.Write(raw) // of a fixed length, so nothing else reads the same
	h.Write([]byte(use))
	copy(mac[:], h.Sum(nil))
	return mac
}

// nameOf is where the bucket has a ticket.
func nameOf(raw []byte) string {
	sum := sha256.Sum256(raw[endBytes:macFrom])
	return "t." + ticketText.EncodeToString(sum[:])
}

func putEnd(raw []byte, t time.Time) {
	for i, ms := endBytes-1, t.UnixMilli(); i >= 0; i, ms = i-1, ms>>8 {
		raw[i] = byte(ms)
	}
}

func endOf(raw []byte) time.Time {
	ms := int64(0)
	for _, c := range raw[:endBytes] {
		ms = ms<<8 | int64(c)
	}
	return time.UnixMilli(ms)
}
