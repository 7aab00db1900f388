package access

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/refusal"
)

const (
	ticketBucket  = "jetwire_tickets"
	revokedBucket = "jetwire_revoked"
	keyName       = "key"
)

// buckets are both buckets in JetStream.
type buckets struct {
	js jetstream.JetStream

	mu               sync.RWMutex
	tickets, revoked jetstream.KeyValue
	made             [2]time.Time
}

// made reports whether a bucket is what it should be: a gateway that begins anew need not trouble the others then.
func made(is, c *jetstream.StreamConfig) bool {
	return is.MaxMsgsPerSubject == c.MaxMsgsPerSubject && is.MaxMsgs == c.MaxMsgs && is.Discard == c.Discard && is.MaxMsgSize == c.MaxMsgSize &&
		is.AllowMsgTTL && is.AllowRollup && !is.AllowDirect && is.Storage == c.Storage && is.Replicas == c.Replicas
}

// sharedKey is what all gateways have.
type sharedKey [sha256.Size]byte

// ensure makes the buckets what the options say, and returns the shared key; known is the one that the store has, or nil.
func (b *buckets) ensure(ctx context.Context, o *Options, known *sharedKey) (*sharedKey, error) {
	tickets, ticketsMade, err := b.bucket(ctx, o, ticketBucket, "Jetwire: tokens that can be used once", MaxTickets)
	if err != nil {
		return nil, err
	}
	revoked, revokedMade, err := b.bucket(ctx, o, revokedBucket, "Jetwire: tokens that hold no longer", MaxRevocations)
	if err != nil {
		return nil, err
	}
	key, err := agree(ctx, tickets, known)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.tickets, b.revoked, b.made = tickets, revoked, [2]time.Time{ticketsMade, revokedMade}
	b.mu.Unlock()
	return key, nil
}

// bucket makes one. It is read from its leader only: a replica that lags would not know a ticket that has just been issued.
func (b *buckets) bucket(ctx context.Context, o *Options, name, about string, most int64) (jetstream.KeyValue, time.Time, error) {
	c := jetstream.StreamConfig{
		Name: "KV_" + name, Description: about, Subjects: []string{"$KV." + name + ".>"}, MaxMsgsPerSubject: 1, MaxMsgs: most,
		Discard: jetstream.DiscardNew, MaxMsgSize: MaxValue + 1<<10, AllowRollup: true, DenyDelete: true, AllowMsgTTL: true,
		Storage: jetstream.FileStorage, Replicas: o.Replicas,
	}
	if o.Memory {
		c.Storage = jetstream.MemoryStorage
	}
	stream, err := b.js.Stream(ctx, c.Name)
	if err != nil || !made(&stream.CachedInfo().Config, &c) {
		stream, err = b.js.CreateOrUpdateStream(ctx, c)
	}
	var refused *jetstream.APIError
	switch {
	case errors.As(err, &refused):
		return nil, time.Time{}, fmt.Errorf("%w: the bucket %s cannot be made what the configuration says (if that is its storage, delete it: nats kv del %s): %w", ErrUnavailable, name, name, err)
	case err != nil:
		return nil, time.Time{}, unavailable(err)
	}
	kv, err := b.js.KeyValue(ctx, name)
	if err != nil {
		return nil, time.Time{}, unavailable(err)
	}
	return kv, stream.CachedInfo().Created, nil
}

// agree stores a key, or reads the one that another gateway has stored before.
func agree(ctx context.Context, kv jetstream.KeyValue, key *sharedKey) (*sharedKey, error) {
	if key == nil {
		key = new(sharedKey)
		rand.Read(key[:]) // never fails (crypto/rand)
	}
	if _, err := kv.Create(ctx, keyName, key[:]); err == nil {
		return key, nil
	} else if !errors.Is(err, jetstream.ErrKeyExists) {
		return nil, unavailable(err)
	}
	e, err := kv.Get(ctx, keyName)
	if err != nil {
		return nil, unavailable(err)
	}
	if len(e.Value()) != len(key) {
		return nil, fmt.Errorf("%w: the key in the bucket %s is not one of Jetwire's; delete it: nats kv purge %s %s", ErrUnavailable, ticketBucket, ticketBucket, keyName)
	}
	return (*sharedKey)(e.Value()), nil
}

// same reports whether the buckets and the key are still those that ensure has seen; also if NATS does not say.
func (b *buckets) same(ctx context.Context, key *sharedKey) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	e, err := b.ticketKV().Get(ctx, keyName)
	if errors.Is(err, jetstream.ErrKeyNotFound) || err == nil && !bytes.Equal(e.Value(), key[:]) {
		return false
	}
	for i, name := range []string{ticketBucket, revokedBucket} {
		stream, err := b.js.Stream(ctx, "KV_"+name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			return false
		case err == nil && !stream.CachedInfo().Created.Equal(b.made[i]):
			return false
		}
	}
	return true
}

func (b *buckets) ticketKV() jetstream.KeyValue {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.tickets
}

func (b *buckets) revokedKV() jetstream.KeyValue {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.revoked
}

// refused is what a write that JetStream did not take means.
func refused(err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch {
		case refusal.Moved(api.ErrorCode):
			return ErrInvalid
		case api.ErrorCode == 10077: // stream store failed: maximum messages exceeded
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
	}
	return unavailable(err)
}
