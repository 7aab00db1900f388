package auth

import (
	"errors"
	"fmt"
	"testing"
	"time"
	"unsafe"
)

func TestAllows(t *testing.T) {
	all, none, chat := []string{">"}, []string{}, []string{"chat.*"}
	for _, c := range []struct {
		rule     Rule
		patterns []string
		user     string
		channel  string
		want     error
	}{
		{"", nil, "alice", "chat.lobby", nil},
		{SignedIn, nil, "alice", "chat.lobby", nil},
		{SignedIn, chat, "alice", "chat.lobby", nil},
		{SignedIn, chat, "alice", "chat.lobby.x", ErrDenied},
		{SignedIn, chat, "alice", "news.lobby", ErrDenied},
		{SignedIn, none, "alice", "chat.lobby", ErrDenied},

		{Granted, nil, "alice", "chat.lobby", ErrDenied},
		{Granted, none, "alice", "chat.lobby", ErrDenied},
		{Granted, chat, "alice", "chat.lobby", nil},
		{Granted, chat, "alice", "news.lobby", ErrDenied},
		{Granted, all, "alice", "news.lobby", nil},

		{Own, nil, "alice", "user.alice", nil},
		{Own, nil, "alice", "user.alice.inbox", nil},
		{Own, nil, "alice", "user.bob", ErrDenied},
		{Own, nil, "alice", "user.alicex", ErrDenied},
		{Own, nil, "alice", "user.x.alice", ErrDenied},
		{Own, nil, "a.b", "user.a.b", ErrDenied},
		{Own, nil, "user", "user", ErrDenied},
		{Own, none, "alice", "user.alice", ErrDenied},
		{Own, chat, "alice", "user.alice", ErrDenied},
		{Own, []string{"user.bob"}, "alice", "user.bob", nil},

		{"", nil, "alice", "chat.>", nil},
		{SignedIn, chat, "alice", "chat.*", nil},
		{SignedIn, chat, "alice", "chat.>", ErrDenied},
		{SignedIn, chat, "alice", "chat.*.x", ErrDenied},
		{Granted, nil, "alice", "chat.*", ErrDenied},
		{Granted, all, "alice", "chat.>", nil},
		{Own, nil, "alice", "user.alice.>", nil},
		{Own, nil, "alice", "user.*", ErrDenied},
		{Own, nil, "alice", "user.>", ErrDenied},
		{Own, nil, "*", "user.*", ErrDenied},
		{Own, nil, ">", "user.>", ErrDenied},

		{Server, nil, "alice", "chat.lobby", ErrDenied},
		{Server, all, "alice", "chat.lobby", ErrDenied},
		{"everybody", all, "alice", "chat.lobby", ErrDenied},
	} {
		t.Run(fmt.Sprintf("%s/%v/%s/%s", c.rule, c.patterns, c.user, c.channel), func(t *testing.T) {
			for _, op := range Ops() {
				// What the other operations have must not matter, so each is the opposite of this one's.
				other := Server
				if c.want != nil {
					other = SignedIn
				}
				r, g := Rules{}, Grant{User: c.user, Patterns: &Patterns{}}
				for _, o := range Ops() {
					r[o], g.Patterns[o] = other, all
				}
				r[op], g.Patterns[op] = c.rule, c.patterns
				if err := g.Allows(op, c.channel, r, now); !errors.Is(err, c.want) {
					t.Errorf("%v: %v, want %v", op, err, c.want)
				}
			}
		})
	}
}

func TestAllowsEndsWithTheToken(t *testing.T) {
	g := Grant{User: "alice", Expires: now.UnixMilli()}
	if err := g.Allows(Subscribe, "chat.lobby", Rules{}, now.Add(-1)); err != nil {
		t.Errorf("before: %v", err)
	}
	if err := g.Allows(Subscribe, "chat.lobby", Rules{}, now); !errors.Is(err, ErrExpired) {
		t.Errorf("at its end: %v", err)
	}
}

func TestUnknownOpIsDenied(t *testing.T) {
	g := Grant{User: "alice"}
	for _, op := range []Op{0, Call + 1} {
		if err := g.Allows(op, "chat.lobby", Rules{}, now); !errors.Is(err, ErrDenied) {
			t.Errorf("%v: %v", op, err)
		}
	}
}

func TestUserRules(t *testing.T) {
	alice := Grant{User: "alice"}
	for op, want := range map[Op]error{Subscribe: nil, History: nil, Presence: nil, Publish: ErrDenied} {
		if err := alice.Allows(op, "user.alice.inbox", UserRules, now); !errors.Is(err, want) {
			t.Errorf("%v: %v, want %v", op, err, want)
		}
		if err := alice.Allows(op, "user.bob.inbox", UserRules, now); !errors.Is(err, ErrDenied) {
			t.Errorf("%v of another's inbox: %v", op, err)
		}
	}
}

func TestRuleCheck(t *testing.T) {
	for _, r := range []Rule{"", SignedIn, Granted, Own, Server, Anyone} {
		if err := r.Check(); err != nil {
			t.Error(err)
		}
	}
	if Rule("signedin").Check() == nil {
		t.Error("an unknown rule passed")
	}
}

func TestAllowsDoesNotAllocate(t *testing.T) {
	g := Grant{User: "alice", Expires: now.Add(time.Hour).UnixMilli(), Patterns: &Patterns{Publish: []string{"news.*", "chat.>"}}}
	if n := testing.AllocsPerRun(100, func() {
		_ = g.Allows(Publish, "chat.lobby", UserRules, now)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAnonymous(t *testing.T) {
	g := Grant{User: "~a1", Anonymous: true}
	for _, rule := range []Rule{"", Anyone, SignedIn, Granted, Own, Server} {
		for _, op := range Ops() {
			r := Rules{}
			r[op] = rule
			var want error
			if rule != Anyone {
				want = ErrDenied
			}
			if err := g.Allows(op, "user.~a1", r, now); !errors.Is(err, want) {
				t.Errorf("%v under %q: %v, want %v", op, rule, err, want)
			}
		}
	}
}

// TestSizeOfAGrant: every connection holds one for as long as it lasts. Go's allocator has a class of 64 bytes.
func TestSizeOfAGrant(t *testing.T) {
	if n := unsafe.Sizeof(Grant{}); n > 64 {
		t.Errorf("a Grant takes %d bytes", n)
	}
}
