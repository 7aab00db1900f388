package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
)

const (
	maxKeySet  = 512 << 10 // bytes of a JWKS
	maxKeys    = 64        // of a JWKS
	maxFetches = 4096      // tokens that wait for a JWKS
)

// ErrUnavailable says that a token names a key that cannot be had now: it may be good.
var ErrUnavailable = errors.New("the key that the token names cannot be had now")

// pacing says when a key set is asked for.
type pacing struct {
	refresh time.Duration // how old it may become
	least   time.Duration // between two requests, whatever tokens ask for
	timeout time.Duration // of a request
}

var keyPacing = pacing{refresh: 15 * time.Minute, least: 10 * time.Second, timeout: 10 * time.Second}

// keySet is a set of public keys that somebody serves. Its goroutine asks for it from time to time, and when a token names a key that
// it lacks, but no more often than pacing says: who makes up names cannot make it ask more. While nobody answers, what was known holds.
type keySet struct {
	// Fixed after construction.
	url    string
	client *http.Client
	log    *slog.Logger
	pacing pacing
	ctx    context.Context
	stop   context.CancelFunc
	done   chan struct{}
	wake   chan struct{} // one token: somebody waits

	known atomic.Pointer[[]publicKey]

	mu      sync.Mutex
	next    time.Time // when it may be asked for again
	waiting []func()  // called when it was asked for
	closed  bool
}

func newKeySet(t *Trust, p pacing) *keySet {
	s := &keySet{url: t.JWKS, client: t.Client, log: t.Logger, pacing: p, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.client == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.DisableKeepAlives = true // it is seldom asked
		s.client = &http.Client{Transport: transport, CheckRedirect: noDowngrade}
	}
	s.known.Store(&[]publicKey{})
	s.ctx, s.stop = context.WithCancel(context.Background())
	go s.run()
	return s
}

// noDowngrade is http.Client.CheckRedirect.
func noDowngrade(r *http.Request, via []*http.Request) error {
	if via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
		return errors.New("redirected from https to " + r.URL.Scheme)
	}
	if len(via) >= 5 {
		return errors.New("redirected too often")
	}
	return nil
}

func (s *keySet) close() {
	s.stop()
	<-s.done
}

func (s *keySet) keys() []publicKey { return *s.known.Load() }

// unknown says what becomes of a token whose key is not in the set: whether to ask for it.
func (s *keySet) unknown() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.next) {
		return ErrUnavailable
	}
	return ErrLater
}

// fetch calls then once the set was asked for, perhaps in vain.
func (s *keySet) fetch(then func()) {
	s.mu.Lock()
	if s.closed || len(s.waiting) >= maxFetches || time.Now().Before(s.next) {
		s.mu.Unlock()
		then()
		return
	}
	s.waiting = append(s.waiting, then)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	s.mu.Unlock()
}

func (s *keySet) run() {
	defer close(s.done)
	for {
		err := s.ask()
		pause := s.pacing.refresh
		if err != nil && s.ctx.Err() == nil {
			s.log.Warn("the public keys of tokens (JWKS) cannot be had now; those known go on to hold", "url", s.url, "error", err)
			pause = s.pacing.least
		}
		s.answer(time.Now().Add(s.pacing.least))
		if !s.rest(pause) {
			s.mu.Lock()
			s.closed = true
			s.mu.Unlock()
			s.answer(time.Time{})
			return
		}
	}
}

// answer tells who waits that the set was asked for.
func (s *keySet) answer(next time.Time) {
	s.mu.Lock()
	s.next = next
	waiting := s.waiting
	s.waiting = nil
	select {
	case <-s.wake:
	default:
	}
	s.mu.Unlock()
	for _, then := range waiting {
		then()
	}
}

// rest waits until the set is to be asked for again. It returns false if it is closed.
func (s *keySet) rest(pause time.Duration) bool {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.wake: // fetch lets nobody wake it too early
	case <-s.ctx.Done():
		return false
	}
	return true
}

// ask asks for the set once.
func (s *keySet) ask() error {
	ctx, cancel := context.WithTimeout(s.ctx, s.pacing.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer is %s", res.Status)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxKeySet+1))
	if err != nil {
		return err
	}
	keys, err := readKeySet(body)
	if err != nil {
		return err
	}
	s.known.Store(&keys)
	s.log.Debug("public keys of tokens (JWKS)", "url", s.url, "keys", len(keys))
	return nil
}

// readKeySet reads a JWKS. Keys that cannot check signatures, or that cannot be read, are passed over; symmetric ones too: who can read
// the set could sign with them.
func readKeySet(body []byte) ([]publicKey, error) {
	if len(body) > maxKeySet {
		return nil, fmt.Errorf("it is longer than %d bytes", maxKeySet)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, errors.New("it is no JWKS")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("it has more than %d keys", maxKeys)
	}
	keys := []publicKey{}
	for _, raw := range set.Keys {
		if k, ok := readKey(raw); ok {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no key that can check a token")
	}
	return keys, nil
}

func readKey(raw json.RawMessage) (k publicKey, ok bool) {
	var m jwkset.JWKMarshal
	if json.Unmarshal(raw, &m) != nil || len(m.KID) > maxKeyID {
		return k, false
	}
	if m.USE != "" && m.USE != jwkset.UseSig || m.KEYOPS != nil && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify) {
		return k, false
	}
	// Only what makes the key itself: certificates, and above all addresses of some, are nobody's business here.
	bare := jwkset.JWKMarshal{KTY: m.KTY, CRV: m.CRV, X: m.X, Y: m.Y, N: m.N, E: m.E}
	jwk, err := jwkset.NewJWKFromMarshal(bare, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return k, false
	}
	k = publicKey{id: m.KID, key: jwk.Key(), algs: algsOf(jwk.Key())}
	if m.ALG != "" {
		if !slices.Contains(k.algs, string(m.ALG)) {
			return k, false
		}
		k.algs = []string{string(m.ALG)}
	}
	return k, k.algs != nil
}

// Fetch checks a token that Verify said ErrLater of: it asks for the JWKS, or waits for who does. done is called once, from any
// goroutine, with what Verify returns then, and ErrUnavailable in the place of ErrLater.
func (v *Verifier) Fetch(token string, done func(*Grant, error)) {
	again := func() {
		g, err := v.Verify(token, time.Now())
		if errors.Is(err, ErrLater) {
			err = ErrUnavailable
		}
		done(g, err)
	}
	if v.remote == nil {
		again()
		return
	}
	v.remote.fetch(again)
}
