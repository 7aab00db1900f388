package limit

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// users is how many are remembered, in so many shards with a lock each.
const (
	users      = 1 << 16
	userShards = 16
)

// Users limits what each user sends through all gateways together. A gateway counts by itself, and once in an Interval tells the
// others what was used here; they take it from what they allow.
//
// So the limit is kept approximately. With G gateways and over t seconds a user gets through no more than
//
//	burst + t × rate, which is the limit, plus
//	(G−1) × (burst + Interval × rate), what the others let through until they are told, once, and
//	t × rate / 8, what is too little to be told of
//
// if every message between gateways arrives. One that is lost lets through once more what it told of.
type Users struct {
	rate   Rate
	seed   maphash.Seed
	shards [userShards]userShard
}

type userShard struct {
	mu    sync.Mutex
	table table[string, *user]
	used  []*user // those whose used is not 0
}

type user struct {
	name    string
	allowed *rate.Limiter
	used    int // here, since the others were told
}

// NewUsers makes a Users; r must be On.
func NewUsers(r Rate) *Users {
	u := &Users{rate: r, seed: maphash.MakeSeed()}
	for i := range u.shards {
		u.shards[i].table = newTable(users/userShards, func(name string) (string, *user) {
			name = strings.Clone(name) // it may be a part of something larger
			return name, &user{name: name, allowed: r.limiter()}
		})
	}
	return u
}

func (u *Users) shard(name string) *userShard {
	return &u.shards[maphash.String(u.seed, name)%userShards]
}

// Take counts a message of a user's, and returns for how long it is refused.
func (u *Users) Take(name string, now time.Time) time.Duration {
	s := u.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.table.get(name)
	wait := take(of.allowed, now)
	if wait == 0 {
		if of.used == 0 {
			s.used = append(s.used, of)
		}
		of.used++
	}
	return wait
}

// elsewhere takes what a user has used through another gateway.
func (u *Users) elsewhere(name string, n int, now time.Time) {
	s := u.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	charge(s.table.get(name).allowed, now, n)
}

// usedHere returns what users have used here since the last call, of those who have used least or more.
func (u *Users) usedHere(least int) map[string]int {
	used := make(map[string]int)
	for i := range u.shards {
		s := &u.shards[i]
		s.mu.Lock()
		for _, of := range s.used {
			if of.used >= least {
				used[of.name] += of.used
			}
			of.used = 0
		}
		clear(s.used)
		s.used = s.used[:0]
		s.mu.Unlock()
	}
	return used
}
