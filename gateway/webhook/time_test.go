package webhook

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// tries delivers one event whose n-th attempt, from 1, ends as outcome says, and returns the pauses between attempts.
func tries(t *testing.T, l *letters, outcome func(s *Sender, n int) error) (pauses []time.Duration) {
	s := sender(t, "http://127.0.0.1", l, func(e *Endpoint, _ *Options) { e.MaxAttempts = 4 })
	s.pause = backoff
	last, n := time.Now(), 0
	s.post = func(context.Context, Event) error {
		if n++; n > 1 {
			pauses = append(pauses, time.Since(last))
		}
		last = time.Now()
		return outcome(s, n)
	}
	if !s.deliver(t.Context(), Event{ID: "e"}) {
		t.Error("it ended too early")
	}
	return pauses
}

var errRefused = &refusal{status: http.StatusInternalServerError}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pauses := tries(t, &letters{}, func(_ *Sender, n int) error {
			if n < 12 {
				return errors.New("nobody listens")
			}
			return nil
		})
		bounds := []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60} // seconds
		if len(pauses) != len(bounds) {
			t.Fatalf("pauses %v", pauses)
		}
		for i, p := range pauses {
			if most := bounds[i] * time.Second; p < most/2 || p > most {
				t.Errorf("pause %d: %v, want %v to %v", i+1, p, most/2, most)
			}
		}
	})
}

func TestRefusalsMakeADeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l letters
		if pauses := tries(t, &l, func(*Sender, int) error { return errRefused }); len(pauses) != 3 || len(l.all) != 1 || l.all[0].Attempts != 4 {
			t.Errorf("pauses %v, letters %+v", pauses, l.all)
		}
	})
}

// What an endpoint that is away did not take waits for it, for a day.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var l letters
		tries(t, &l, func(*Sender, int) error { return context.DeadlineExceeded })
		if took := time.Since(began); len(l.all) != 1 || took < Patience || took > Patience+lastPause {
			t.Errorf("%d letters after %v", len(l.all), took)
		}
	})
}

// An event that breaks the endpoint each time, while others are taken, is not waited for.
func TestFailuresCountWhileOthersAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l letters
		tries(t, &l, func(s *Sender, n int) error {
			if n > 2 {
				s.delivered.Add(1)
			}
			return errors.New("the connection broke")
		})
		if len(l.all) != 1 || l.all[0].Attempts != 6 {
			t.Errorf("letters %+v", l.all)
		}
	})
}

// What was taken long ago does not count.
func TestEndpointThatGoesAwayIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l letters
		tries(t, &l, func(s *Sender, n int) error {
			if n == 2 {
				s.delivered.Add(1)
			}
			if n < 12 {
				return errors.New("nobody listens")
			}
			return nil
		})
		if len(l.all) != 0 {
			t.Errorf("letters %+v", l.all)
		}
	})
}

func TestRetryAfterIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pauses := tries(t, &letters{}, func(_ *Sender, n int) error {
			if n == 1 {
				return &refusal{status: http.StatusTooManyRequests, retryAfter: 10 * time.Minute}
			}
			return nil
		})
		if !slices.Equal(pauses, []time.Duration{10 * time.Minute}) {
			t.Errorf("pauses %v", pauses)
		}
	})
}

// A dead letter that cannot be stored is tried again: its event is not done before.
func TestDeadLettersAreStoredForSure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l letters
		n := 0
		s := sender(t, "http://127.0.0.1", &l, func(e *Endpoint, o *Options) {
			e.MaxAttempts = 1
			o.Dead = func(ctx context.Context, letter Letter) error {
				if n++; n < 5 {
					return errors.New("away")
				}
				return l.put(ctx, letter)
			}
		})
		s.post = func(context.Context, Event) error { return errRefused }
		if !s.deliver(t.Context(), Event{ID: "e"}) || len(l.all) != 1 || n != 5 {
			t.Errorf("%d letters after %d attempts", len(l.all), n)
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, s := range []string{"", "0", "120", "-1", "99999999999", "Thu, 01 Jan 2026 00:02:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "soon"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := retryAfter(s, now)
		if got < 0 || got > maxRetryAfter {
			t.Errorf("%q: %v", s, got)
		}
		if n, err := strconv.Atoi(s); err == nil && n > 0 && n < 3600 && s[0] != '+' && got != time.Duration(n)*time.Second {
			t.Errorf("%q: %v", s, got)
		}
	})
}
