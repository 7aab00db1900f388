package access

import (
	"encoding/json"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jetwire/jetwire/streams/natstest"
)

// A revocation holds at once where it was made, and soon on every other gateway; what it does not name is not touched.
func TestRevocationsReachAll(t *testing.T) {
	ns := natstest.Run(t)
	var told atomic.Int32
	a, _ := start(t, ns, nil)
	b, _ := start(t, ns, func(o *Options) { o.Revoked = func() { told.Add(1) } })
	now := time.Now()
	issued := now.UnixMilli()
	for _, r := range []Revocation{{TokenID: "t1"}, {User: "bob"}, {User: "carol", Before: now}} {
		if err := a.Revoke(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	later, _ := start(t, ns, nil)
	eventually(t, "the other gateway to know", func() bool { return b.Revocations() == 3 })
	if told.Load() == 0 {
		t.Error("nobody was told")
	}
	for name, s := range map[string]*Store{"the same": a, "another": b, "one that starts later": later} {
		for _, c := range []struct {
			user, id string
			issued   int64
			want     bool
		}{
			{"alice", "t1", issued, true}, {"alice", "t2", issued, false}, {"alice", "", issued, false}, {"t1", "", issued, false},
			{"bob", "", issued, true}, {"bob", "t2", issued + 1e6, true}, {"bob", "", 0, true},
			{"carol", "", issued - 1, true}, {"carol", "", issued, false}, {"carol", "", 0, true}, {"Carol", "", 0, false},
		} {
			if got := s.Revoked(c.user, c.id, c.issued); got != c.want {
				t.Errorf("%s: %+v is %v", name, c, got)
			}
		}
	}
}

// Without NATS a gateway goes on with what it knows, and misses nothing.
func TestRevocationsWhileAway(t *testing.T) {
	ns := natstest.Run(t)
	a, gate := start(t, ns, nil)
	b, _ := start(t, ns, nil)
	if err := b.Revoke(t.Context(), Revocation{User: "bob"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first", func() bool { return a.Revoked("bob", "", 1) })
	gate.set(false)
	eventually(t, "the connection to break", func() bool { return !a.nc.IsConnected() })
	for _, user := range []string{"carol", "dave"} {
		if err := b.Revoke(t.Context(), Revocation{User: user}); err != nil {
			t.Fatal(err)
		}
	}
	if !a.Revoked("bob", "", 1) || a.Revoked("carol", "", 1) {
		t.Error("without NATS it knows something else than before")
	}
	gate.set(true)
	eventually(t, "what was missed", func() bool { return a.Revoked("carol", "", 1) && a.Revoked("dave", "", 1) })
	// The store is lost with its server: what was known goes on to hold, and new ones arrive.
	ns.Restart()
	eventually(t, "a revocation in the new bucket", func() bool { return b.Revoke(t.Context(), Revocation{User: "erin"}) == nil })
	eventually(t, "it to arrive", func() bool { return a.Revoked("erin", "", 1) })
	if !a.Revoked("bob", "", 1) {
		t.Error("what was known is forgotten")
	}
	// With the bucket the shared key was lost; the gateways agree on a new one.
	eventually(t, "a ticket of one to be redeemed by the other", func() bool {
		ticket, err := a.Issue(t.Context(), use, []byte("x"), time.Minute)
		if err != nil {
			return false
		}
		v, err := redeem(t, b, use, ticket)
		return err == nil && v == "x"
	})
}

// A bucket that somebody deletes is made again, though the connection never broke.
func TestBucketsDeleted(t *testing.T) {
	ns := natstest.Run(t)
	a, _ := start(t, ns, nil)
	b, _ := start(t, ns, nil)
	for _, name := range []string{ticketBucket, revokedBucket} {
		if err := a.buckets.js.DeleteStream(t.Context(), "KV_"+name); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "a revocation", func() bool { return b.Revoke(t.Context(), Revocation{User: "erin"}) == nil })
	eventually(t, "it to arrive", func() bool { return a.Revoked("erin", "", 1) })
	// So is a key that somebody purges: it stays the same, and tickets hold.
	eventually(t, "one key", func() bool { return *a.key.Load() == *b.key.Load() })
	ticket := issue(t, a, "x")
	if err := a.buckets.ticketKV().Purge(t.Context(), keyName); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the key to be back", func() bool {
		e, err := a.buckets.ticketKV().Get(t.Context(), keyName)
		return err == nil && string(e.Value()) == string(a.key.Load()[:])
	})
	c, _ := start(t, ns, nil)
	if v, err := redeem(t, c, use, ticket); v != "x" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
}

func TestRevocationsAreForgotten(t *testing.T) {
	ns := natstest.Run(t)
	a, _ := start(t, ns, nil)
	if err := a.Revoke(t.Context(), Revocation{User: "bob", Until: time.Now().Add(time.Second)}); err != nil {
		t.Fatal(err)
	}
	if !a.Revoked("bob", "", 1) {
		t.Error("it does not hold")
	}
	eventually(t, "its end", func() bool { return a.Revocations() == 0 && !a.Revoked("bob", "", 1) })
	eventually(t, "the bucket to be empty", func() bool {
		s, err := a.buckets.js.Stream(t.Context(), "KV_"+revokedBucket)
		return err == nil && s.CachedInfo().State.Msgs == 0
	})
}

// TestSetAgainstAList: a token is revoked if one of the revocations says so. The set may only go further where two of a user's by
// time of issue meet.
func TestSetAgainstAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var v revocations
		var list []record
		name := rapid.SampledFrom([]string{"a", "b"})
		number := rapid.Int64Range(1, 6)
		for range rapid.IntRange(0, 5).Draw(t, "n") {
			r := record{Until: number.Draw(t, "until")}
			if rapid.Bool().Draw(t, "by id") {
				r.ID = name.Draw(t, "id")
			} else {
				r.User = name.Draw(t, "user")
				r.Before = rapid.Int64Range(0, 6).Draw(t, "before")
			}
			list = append(list, r)
			if _, err := v.add(r); err != nil {
				t.Fatal(err)
			}
		}
		at := time.UnixMilli(number.Draw(t, "now"))
		if rapid.Bool().Draw(t, "forget") {
			v.forget(at)
		}
		user, id, issued := name.Draw(t, "who"), rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "token"), rapid.Int64Range(0, 6).Draw(t, "issued")
		want, may, farthest, longest := false, false, int64(0), int64(0)
		for _, r := range list {
			live := r.Until > at.UnixMilli()
			want = want || live && (r.ID != "" && r.ID == id || r.User == user && (r.Before == 0 || issued < r.Before))
			if r.User == user && r.Before != 0 {
				farthest, longest = max(farthest, r.Before), max(longest, r.Until)
			}
		}
		may = want || issued < farthest && longest > at.UnixMilli()
		if got := v.holds(user, id, issued, at); want && !got || got && !may {
			t.Errorf("%v, want %v: %s %q issued %d at %d of %+v", got, want, user, id, issued, at.UnixMilli(), list)
		}
	})
}

func TestSetIsBounded(t *testing.T) {
	var v revocations
	for i := range 2 * MaxRevocations {
		r := record{ID: strconv.Itoa(i), Until: 9}
		if i%2 == 0 {
			r = record{User: r.ID, Until: 9}
		}
		if _, err := v.add(r); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []record{{ID: "more", Until: 9}, {User: "more", Until: 9}} {
		if _, err := v.add(r); err == nil {
			t.Errorf("%+v is one too many", r)
		}
	}
	for _, r := range []record{{ID: "1", Until: 10}, {User: "0", Until: 10}} {
		if news, err := v.add(r); err != nil || !news {
			t.Errorf("%+v: %v, %v", r, news, err)
		}
	}
}

// FuzzRecord: whatever the bucket holds, nothing panics, and what is taken is within bounds and can be written again.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"id":"t1","until":1795320748123}`))
	f.Add([]byte(`{"user":"alice","before":1,"until":2}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := decode(value)
		if err != nil {
			return
		}
		if (r.ID == "") == (r.User == "") || len(r.ID)+len(r.User) > maxName || r.Until <= 0 || r.Before < 0 {
			t.Errorf("%+v", r)
		}
		again, _ := json.Marshal(r)
		if back, err := decode(again); err != nil || back != r {
			t.Errorf("%+v, %v", back, err)
		}
	})
}
