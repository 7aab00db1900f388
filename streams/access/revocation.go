package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const maxName = 256 // bytes of a user, or of a token's id

// Revocation takes tokens back: the one that has an id (its claim jti), or all of a user's that were issued before a time.
type Revocation struct {
	TokenID string // or User
	User    string
	// Before: only tokens that were issued earlier, or do not say when (claim iat). Zero: every token of the user, also one that
	// will be issued while the revocation holds.
	Before time.Time
	Until  time.Time // when it may be forgotten; zero: after Options.Keep
}

// record is how a revocation is stored; times are Unix milliseconds.
type record struct {
	ID     string `json:"id,omitempty"`
	User   string `json:"user,omitempty"`
	Before int64  `json:"before,omitempty"` // 0: always
	Until  int64  `json:"until"`
}

func (r *record) check() error {
	switch {
	case (r.ID == "") == (r.User == ""):
		return errors.New("a revocation names a token's id, or a user")
	case len(r.ID) > maxName || len(r.User) > maxName:
		return fmt.Errorf("a name is longer than %d bytes", maxName)
	case r.ID != "" && r.Before != 0:
		return errors.New("a time of issue is for users")
	case r.Before < 0 || r.Until <= 0:
		return errors.New("a time lies before 1970")
	}
	return nil
}

// decode reads a stored value, of which nothing may be assumed.
func decode(value []byte) (r record, err error) {
	if len(value) > MaxValue {
		return r, errors.New("too long")
	}
	if err := json.Unmarshal(value, &r); err != nil {
		return r, err
	}
	return r, r.check()
}

// Revoke takes tokens back, and returns when that is stored: then every gateway hears of it, and this one knows. It fails with
// ErrBadRequest, ErrFull or ErrUnavailable.
func (s *Store) Revoke(ctx context.Context, r Revocation) error {
	now := time.Now()
	if r.Until.IsZero() {
		r.Until = now.Add(s.opts.Keep)
	}
	rec := record{ID: r.TokenID, User: r.User, Until: r.Until.UnixMilli()}
	if !r.Before.IsZero() {
		rec.Before = max(r.Before.UnixMilli(), 1)
	}
	if err := rec.check(); err != nil {
		return fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	ttl := (r.Until.Sub(now) + time.Second - 1).Truncate(time.Second)
	if ttl <= 0 {
		return nil // it holds no longer
	}
	value, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, err := s.buckets.revokedKV().Create(ctx, nuid.Next(), value, jetstream.KeyTTL(ttl)); err != nil {
		return refused(err)
	}
	s.learn(rec)
	return s.synced(ctx)
}

func (s *Store) synced(ctx context.Context) error {
	if s.opts.Synced == nil {
		return nil
	}
	done := make(chan error, 1)
	s.opts.Synced(func(err error) { done <- err })
	select {
	case err := <-done:
		if err != nil {
			return unavailable(err)
		}
		return nil
	case <-ctx.Done():
		return unavailable(context.Cause(ctx))
	}
}

// Revoked says whether a token was taken back, by its user, its id (empty: it has none) and when it was issued (Unix milliseconds;
// 0: it does not say).
func (s *Store) Revoked(user, tokenID string, issued int64) bool {
	return s.set.holds(user, tokenID, issued, time.Now())
}

// Revocations is how many are known here.
func (s *Store) Revocations() int { return s.set.len() }

// take adds what the bucket tells.
func (s *Store) take(e jetstream.KeyValueEntry) {
	if e == nil || e.Operation() != jetstream.KeyValuePut {
		return // one that is deleted early, by hand, holds until a gateway begins anew
	}
	r, err := decode(e.Value())
	if err != nil {
		s.opts.Logger.Warn("a revocation cannot be read", "bucket", revokedBucket, "key", e.Key(), "error", err)
		return
	}
	s.learn(r)
}

func (s *Store) learn(r record) {
	news, err := s.set.add(r)
	if err != nil {
		s.opts.Logger.Error("a revocation does not hold here", "error", err)
	}
	if news {
		s.opts.Revoked()
	}
}

// revocations are those known. The zero value knows none.
type revocations struct {
	mu    sync.RWMutex
	ids   map[string]int64 // until
	users map[string]cut
}

// cut is what of a user's tokens is revoked. Two revocations by time of issue become one that holds as far, and as long, as either.
type cut struct {
	always        int64 // all of them until then
	before, until int64
}

func (c cut) over(at int64) bool { return c.always <= at && c.until <= at }

var errTooMany = errors.New("this gateway knows as many revocations as it can hold")

// add reports whether it is news.
func (v *revocations) add(r record) (news bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ids == nil {
		v.ids, v.users = map[string]int64{}, map[string]cut{}
	}
	_, byID := v.ids[r.ID]
	was, byUser := v.users[r.User]
	// The bucket holds fewer; but it may have been emptied by hand, or made anew.
	if len(v.ids)+len(v.users) >= 2*MaxRevocations && !byID && !byUser {
		return false, errTooMany
	}
	if r.ID != "" {
		known := v.ids[r.ID]
		v.ids[r.ID] = max(known, r.Until)
		return r.Until > known, nil
	}
	is := was
	if r.Before == 0 {
		is.always = max(is.always, r.Until)
	} else {
		is.before, is.until = max(is.before, r.Before), max(is.until, r.Until)
	}
	v.users[r.User] = is
	return is != was, nil
}

func (v *revocations) holds(user, id string, issued int64, now time.Time) bool {
	at := now.UnixMilli()
	v.mu.RLock()
	defer v.mu.RUnlock()
	if id != "" && v.ids[id] > at {
		return true
	}
	c := v.users[user]
	return c.always > at || c.until > at && issued < c.before
}

// forget drops those whose time is over.
func (v *revocations) forget(now time.Time) {
	at := now.UnixMilli()
	v.mu.Lock()
	defer v.mu.Unlock()
	for id, until := range v.ids {
		if until <= at {
			delete(v.ids, id)
		}
	}
	for user, c := range v.users {
		if c.over(at) {
			delete(v.users, user)
		}
	}
}

func (v *revocations) len() int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return len(v.ids) + len(v.users)
}
