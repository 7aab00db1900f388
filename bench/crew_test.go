package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

// crewLoad is load with load processes.
func crewLoad(t *testing.T, s *miniServer, n int) Load {
	t.Helper()
	t.Setenv(childVar, "work")
	l := load(t, s)
	l.Processes, l.Worker = n, os.Args[:1]
	return l
}

func TestSeveralProcesses(t *testing.T) {
	s := newMiniServer(t)
	sources := map[string]int{}
	s.after = func(n uint64) {
		for c := range s.conns {
			if n == 1 {
				sources[strings.Split(c.RemoteAddr().String(), ":")[0]]++
			}
		}
	}
	r, err := Fanout{Load: crewLoad(t, s, 3), Conns: 20, Rate: 4000, QoS: 1}.Run(t.Context())
	wantClean(t, r, err)
	if r.Processes != 3 || r.Received != 20*r.Sent || r.Latency.Count == 0 || r.Latency.P50 < 1 || r.Latency.P50 > 60e6 || !(r.ClientCores > 0) {
		t.Errorf("%+v", r)
	}
	if sources["127.0.1.1"] != 7 || sources["127.0.2.1"] != 7 || sources["127.0.3.1"] != 6 {
		t.Errorf("%v", sources)
	}
}

func TestSeveralProcessesFlatOut(t *testing.T) {
	r, err := Rooms{Load: crewLoad(t, newMiniServer(t), 2), Rooms: 4, Members: 3, Publishers: 2, FlatOut: true, Window: 8, QoS: 1}.Run(t.Context())
	wantClean(t, r, err)
	if r.Processes != 2 || r.Received != 3*r.Sent || r.Delivered < 1000 {
		t.Errorf("%+v", r)
	}
}

func TestIdleInSeveralProcesses(t *testing.T) {
	r, err := Idle{Load: crewLoad(t, newMiniServer(t), 2), Steps: []int{5, 12}, Own: true, Settle: 10 * time.Millisecond, QoS: 1}.Run(t.Context())
	wantClean(t, r, err)
	if r.Received != 12 || r.Latency.Count != 12 {
		t.Errorf("%+v", r)
	}
}

func TestConnectInSeveralProcesses(t *testing.T) {
	r, err := Connect{Load: crewLoad(t, newMiniServer(t), 2), Conns: 31, Rate: 200, Hold: time.Millisecond, Storm: true, QoS: 1}.Run(t.Context())
	wantClean(t, r, err)
	if r.Received != 31 || len(r.Connects.Waves) != 2 || r.Connects.Waves[0].Latency.Count != 31 || r.Connects.Waves[1].Joined != 31 {
		t.Errorf("%+v", r.Connects)
	}
}

// TestALossInALoadProcess has the server leave out a message for a socket of another process.
func TestALossInALoadProcess(t *testing.T) {
	s := newMiniServer(t)
	s.deliver = func(c *miniConn, n uint64, frame []byte) [][]byte {
		if n == 5 && c == s.subs[firstKey(s.subs)][1] {
			return nil
		}
		return [][]byte{frame}
	}
	r, err := Fanout{Load: crewLoad(t, s, 2), Conns: 4, Rate: 400, QoS: 1}.Run(t.Context())
	if err != nil || r.Lost != 1 || !r.Broken() {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestALoadProcessThatDies(t *testing.T) {
	s := newMiniServer(t)
	l := crewLoad(t, s, 2)
	l.Worker = []string{"/bin/sh", "-c", `echo it was not to be >&2; read a; exit 3`}
	_, err := Fanout{Load: l, Conns: 4, Rate: 400, QoS: 1}.Run(t.Context())
	if !errors.Is(err, ErrWorker) || !strings.Contains(err.Error(), "it was not to be") {
		t.Errorf("got %v", err)
	}
	l.Worker = []string{"/no/such/program"}
	if _, err := (Fanout{Load: l, Conns: 4, QoS: 1}).Run(t.Context()); err == nil {
		t.Error("started")
	}
}

func TestARefusedTokenInALoadProcess(t *testing.T) {
	l := crewLoad(t, newMiniServer(t), 2)
	l.Target.Token = "forged"
	_, err := Fanout{Load: l, Conns: 4, QoS: 1}.Run(t.Context())
	if !errors.Is(err, ErrWorker) || !strings.Contains(err.Error(), wire.BadToken.Err().Message) {
		t.Errorf("got %v", err)
	}
}

func TestProcessesThatFilesDemand(t *testing.T) {
	limit, err := fileLimit()
	if err != nil {
		t.Skip(err)
	}
	l := Load{Worker: []string{"x"}}
	for sockets, want := range map[int]int{1: 0, limit - otherFiles: 0, limit: 2, 3 * limit: 4} {
		if n, why, err := l.processes(sockets); err != nil || n != want || (why != "") != (want > 0) {
			t.Errorf("%d sockets: %d, %q, %v", sockets, n, why, err)
		}
	}
	l.Worker = nil
	if n, _, err := l.processes(3 * limit); n != 0 || err != nil {
		t.Errorf("without a program: %d, %v", n, err)
	}
}

func TestOrdersThatAreNone(t *testing.T) {
	for _, in := range []string{
		"x\n", "{}{}\n", `{"fetch":true}` + "\n", `{"open":{"from":-1,"to":5,"step":1}}` + "\n", `{"start":{"urls":["ws://x"],"channels":0}}` + "\n",
	} {
		if err := Work(t.Context(), strings.NewReader(in), io.Discard); !errors.Is(err, errOrder) {
			t.Errorf("%q: %v", in, err)
		}
	}
	var out bytes.Buffer
	if err := Work(t.Context(), strings.NewReader(`{"edge":true}`+"\n"), &out); err != nil || !strings.Contains(out.String(), "start comes first") {
		t.Errorf("%v: %s", err, &out)
	}
}

func FuzzOrder(f *testing.F) {
	for _, o := range []order{
		{Start: &start{URLs: []string{"ws://127.0.0.1/ws"}, Channels: 3, Mark: 1, Sockets: 7}}, {Open: &opening{To: 5, Step: 2, Rate: 3}},
		{Span: &[2]int64{1, 2}}, {Edge: true}, {Judge: &published{Sent: 5, Channels: 2, Refused: map[int]uint64{1: 1}}}, {Leave: true},
	} {
		line, _ := json.Marshal(o)
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var o order
		if decodeLine(line, &o) != nil || o.check() != nil {
			return
		}
		if o.Open != nil && o.Open.sockets() < 0 {
			t.Fatal(o.Open.sockets())
		}
		again, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		var back order
		if err := decodeLine(again, &back); err != nil {
			t.Fatalf("%s became %s: %v", line, again, err)
		}
	})
}

func FuzzOutcome(f *testing.F) {
	f.Add([]byte(`{"arrived":5}`))
	f.Add([]byte(`{"done":true,"findings":{"received":5,"took":""}}`))
	f.Add([]byte(`{"done":true,"opened":{"joined":3,"took":"","failures":{"x":1}}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var x outcome
		if decodeLine(line, &x) != nil {
			return
		}
		if again, err := json.Marshal(x); err != nil || decodeLine(again, &outcome{}) != nil {
			t.Fatalf("%s became %s: %v", line, again, err)
		}
	})
}
