package limit

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// addresses is how many are remembered.
const addresses = 1 << 16

// badToken is how many connects one weighs in which somebody has shown a bad token.
const badToken = 5

// Addresses limits the connects of each address, or for IPv6 of each /64, which is what one customer has at least.
type Addresses struct {
	mu    sync.Mutex
	table table[netip.Addr, *rate.Limiter]
}

// NewAddresses makes an Addresses; r must be On.
func NewAddresses(r Rate) *Addresses {
	return &Addresses{table: newTable(addresses, func(a netip.Addr) (netip.Addr, *rate.Limiter) { return a, r.limiter() })}
}

// Take counts a connect, and returns for how long it is refused. An address that is not known is not limited.
func (a *Addresses) Take(addr netip.Addr, now time.Time) time.Duration {
	if !addr.IsValid() {
		return 0
	}
	return take(a.of(addr), now)
}

// Distrust counts more for a connect that was taken already: its token was bad.
func (a *Addresses) Distrust(addr netip.Addr, now time.Time) {
	if addr.IsValid() {
		charge(a.of(addr), now, badToken-1)
	}
}

func (a *Addresses) of(addr netip.Addr) *rate.Limiter {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			addr = p.Addr()
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.table.get(addr)
}
