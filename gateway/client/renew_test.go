package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

// Before a token expires it is renewed on the live connection, again and again; what a server or the source of tokens says against it is
// met in time.
func TestTokenIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		o := p.options()
		asked := 0
		var failing atomic.Bool
		o.Token = func(context.Context) (string, error) {
			if failing.Swap(false) {
				return "", errors.New("the source of tokens is away")
			}
			asked++
			return fmt.Sprint("token", asked), nil
		}
		expires := func(d time.Duration) int64 { return time.Now().Add(d).UnixMilli() }
		c, pc := p.dialTo(o, func() *peerConn {
			pc, cmd := p.accept()
			pc.send(`{"id":%d,"connect":{"session":"s","user":"u","ping":20,"expires":%d,"retry_window":100,"max_message":65536}}`, cmd.ID, expires(time.Minute))
			return pc
		})
		defer c.Close()
		began := time.Now()
		cmd := pc.expect(wire.OpRenew)
		if d := time.Since(began); cmd.Renew.Token != "token2" || d < 44*time.Second || d > 49*time.Second {
			t.Errorf("after %v with %q", d, cmd.Renew.Token)
		}
		pc.send(`{"id":%d,"renew":{"expires":%d}}`, cmd.ID, expires(10*time.Minute))
		began = time.Now()
		failing.Store(true)
		cmd = pc.expect(wire.OpRenew)
		if d := time.Since(began); cmd.Renew.Token != "token3" || d < 8*time.Minute || d > 9*time.Minute {
			t.Errorf("after %v with %q", d, cmd.Renew.Token)
		}
		pc.refuse(cmd, wire.Unavailable)
		cmd = pc.expect(wire.OpRenew)
		pc.send(`{"id":%d,"renew":{}}`, cmd.ID)
		time.Sleep(3 * time.Minute) // for ever
		// One that has expired all the same is renewed within the grace, and the connection stays.
		pc.send(`{"expired":{"grace":20}}`)
		cmd = pc.expect(wire.OpRenew)
		pc.send(`{"id":%d,"renew":{"expires":%d}}`, cmd.ID, expires(time.Hour))
		time.Sleep(3 * time.Minute)
		if n := c.Stats().Connects; n != 1 {
			t.Errorf("%d connections", n)
		}
		// A token that is refused is not tried twice; one of another user makes a connection of its own.
		for _, code := range []wire.Code{wire.BadToken, wire.PermissionDenied} {
			pc.send(`{"expired":{"grace":20}}`)
			cmd = pc.expect(wire.OpRenew)
			pc.refuse(cmd, code)
			again, connect := p.accept()
			if same := connect.Connect.Token == cmd.Renew.Token; same != (code == wire.PermissionDenied) {
				t.Errorf("%v: connected with %q after %q", code, connect.Connect.Token, cmd.Renew.Token)
			}
			again.send(`{"id":%d,"connect":{"session":"s","user":"u","ping":20,"retry_window":100,"max_message":65536}}`, connect.ID)
			pc = again
			time.Sleep(time.Minute)
		}
	})
}
