package bench

import (
	"errors"
	"testing"
	"time"
)

func durable(t *testing.T, s *miniServer) Durable {
	t.Helper()
	return Durable{Load: load(t, s), Users: 25, Batch: 10, Sample: 25, Settle: time.Millisecond, QoS: 1}
}

func TestDurable(t *testing.T) {
	r, err := durable(t, newMiniServer(t)).Run(t.Context())
	wantClean(t, r, err)
	if x := r.Cursors; r.Sent != 3 || r.Received != 25 || x.Returned == 0 || x.StoreBytes.Known() || x.RSS != 0 || x.Users != 25 {
		t.Errorf("%+v, %+v", r, x)
	}
}

func TestAForgottenDevice(t *testing.T) {
	s := newMiniServer(t)
	s.set(func() { s.after = func(n uint64) { s.forget = n == 3 } })
	if _, err := durable(t, s).Run(t.Context()); !errors.Is(err, errNotResumed) {
		t.Errorf("got %v", err)
	}
}

func TestAForgottenAck(t *testing.T) {
	s := newMiniServer(t)
	s.set(func() { s.ackLost = func(string) bool { return true } })
	r, err := durable(t, s).Run(t.Context())
	if err != nil || int(r.Wrong) != r.Cursors.Returned || !r.Broken() {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestDevicesNeedTheSecret(t *testing.T) {
	o := durable(t, newMiniServer(t))
	o.Target.Sign = nil
	if _, err := o.Run(t.Context()); !errors.Is(err, errNoSigner) {
		t.Errorf("got %v", err)
	}
}

func storm(t *testing.T, s *miniServer) ResumeStorm {
	t.Helper()
	return ResumeStorm{Load: load(t, s), Users: 30, Messages: 4, Live: 3, Rate: 100, Again: 10}
}

func TestResumeStorm(t *testing.T) {
	r, err := storm(t, newMiniServer(t)).Run(t.Context())
	wantClean(t, r, err)
	x := r.Storm
	if r.Sent != 120 || r.Received != 120 || !(x.Joined > 0) || !(x.Delivered > 0) || x.Acked < x.Delivered || x.Again != 10 || x.Returned != 0 || len(x.Stretches) != 2 {
		t.Errorf("%+v, %+v", r, x)
	}
}

func TestResumeStormSeesLosses(t *testing.T) {
	s := newMiniServer(t)
	s.set(func() {
		s.after = func(n uint64) {
			for name, list := range s.inboxes {
				if n == 50 && len(list) > 0 { // of one inbox
					s.inboxes[name] = list[1:]
					return
				}
			}
		}
	})
	o := storm(t, s)
	o.patience = 300 * time.Millisecond
	r, err := o.Run(t.Context())
	if err != nil || r.Lost != 1 || !r.Broken() {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestResumeStormSeesForgottenAcks(t *testing.T) {
	s := newMiniServer(t)
	s.set(func() { s.ackLost = func(string) bool { return true } })
	r, err := storm(t, s).Run(t.Context())
	if err != nil || r.Storm.Returned != 40 || !r.Broken() {
		t.Errorf("%+v, %v", r, err)
	}
}
