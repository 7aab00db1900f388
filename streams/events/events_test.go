package events

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/jetwire/jetwire/streams/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wait bounds a test's waiting for one thing.
const wait = 30 * time.Second

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(wait); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

var all = []Kind{Connect, Disconnect, Subscribe, Unsubscribe}

// open opens the log of a gateway.
func open(t testing.TB, ns *natstest.Server, gateway string, change func(*Options)) *Log {
	t.Helper()
	o := Options{Gateway: gateway, Kinds: all, Grace: time.Millisecond, Alive: func(string) bool { return true },
		Connect: func(name string, extra ...nats.Option) (*nats.Conn, error) {
			return nats.Connect(ns.URL(), append(extra, nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0))...)
		}}
	if change != nil {
		change(&o)
	}
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// stored returns the events of the stream, each in one line.
func stored(t testing.TB, ns *natstest.Server) (lines []string) {
	t.Helper()
	js, err := jetstream.New(ns.Conn())
	if err != nil {
		t.Fatal(err)
	}
	st, err := js.Stream(t.Context(), Stream)
	if err != nil {
		t.Fatal(err)
	}
	info := st.CachedInfo()
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq && info.State.Msgs > 0; seq++ {
		m, err := st.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		var e Event
		if err := json.Unmarshal(m.Data, &e); err != nil || m.Subject != e.subject() || e.Time == 0 || e.Gateway == "" {
			t.Fatalf("%s %s: %v", m.Subject, m.Data, err)
		}
		lines = append(lines, strings.Join(strings.Fields(fmt.Sprint(e.Kind, " ", e.User, " ", e.Session, " ", e.Channel, " ", e.Reason)), " "))
	}
	return lines
}

// entries returns the keys of the bucket.
func entries(t testing.TB, ns *natstest.Server) (keys []string) {
	t.Helper()
	js, err := jetstream.New(ns.Conn())
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), Bucket)
	if err != nil {
		t.Fatal(err)
	}
	lister, err := kv.ListKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for k := range lister.Keys() {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func TestEventsAreStoredInOrder(t *testing.T) {
	ns := natstest.Run(t)
	l := open(t, ns, "g1", nil)
	var want []string
	for i := range 1200 { // several batches
		s := fmt.Sprintf("s%d", i)
		c := l.Connected(s, "alice", "phone", "app")
		c.Subscribed("chat.lobby")
		c.Unsubscribed("chat.lobby")
		c.Disconnected(1001, "going_away")
		want = append(want, "connect alice "+s, "subscribe alice "+s+" chat.lobby", "unsubscribe alice "+s+" chat.lobby", "disconnect alice "+s+" going_away")
	}
	open := l.Connected("open", "bob", "", "")
	want = append(want, "connect bob open")
	eventually(t, "the events", func() bool { return l.Stats().Appended == uint64(len(want)) })
	if got := stored(t, ns); !slices.Equal(got, want) {
		t.Errorf("%d events, want %d: %.300q", len(got), len(want), got)
	}
	eventually(t, "the entries", func() bool { return slices.Equal(entries(t, ns), []string{"g1", "g1.open"}) })
	open.Disconnected(1006, "")
	l.Close()
	if got := entries(t, ns); len(got) != 0 {
		t.Errorf("entries that stay: %v", got)
	}
	if got := stored(t, ns); got[len(got)-1] != "disconnect bob open" || l.Stats().Lost != 0 {
		t.Errorf("the last event: %v, %+v", got[len(got)-1], l.Stats())
	}
}

func TestOnlyWhatIsWantedIsStored(t *testing.T) {
	ns := natstest.Run(t)
	l := open(t, ns, "g1", func(o *Options) { o.Kinds = []Kind{Disconnect} })
	c := l.Connected("s1", "alice", "", "")
	c.Subscribed("chat.lobby")
	eventually(t, "the entry", func() bool { return slices.Equal(entries(t, ns), []string{"g1", "g1.s1"}) })
	c.Disconnected(1000, "normal")
	l.Close()
	if got := stored(t, ns); !slices.Equal(got, []string{"disconnect alice s1 normal"}) {
		t.Errorf("stored %q", got)
	}
}

// A server that is away delays events; what the queue cannot hold is counted, and told.
func TestServerAway(t *testing.T) {
	ns := natstest.Run(t)
	l := open(t, ns, "g1", func(o *Options) { o.Queue = 10; o.Kinds = []Kind{Connect} })
	l.Connected("first", "alice", "", "")
	eventually(t, "the first event", func() bool { return l.Stats().Appended == 1 })
	ns.Shutdown()
	for i := range 30 {
		l.Connected(fmt.Sprint("s", i), "alice", "", "")
	}
	lost := int(l.Stats().Lost)
	if lost < 10 { // besides those in the queue, as many may be on their way
		t.Errorf("%d lost", lost)
	}
	ns.Restart()
	eventually(t, "the others", func() bool { return l.Stats().Appended >= uint64(1+30-lost+1) })
	l.Connected("last", "alice", "", "")
	l.Close()
	var sessions []string
	told := 0
	for _, line := range stored(t, ns) {
		if line == "lost" {
			told++
			continue
		}
		sessions = append(sessions, strings.TrimPrefix(line, "connect alice "))
	}
	sessions = slices.Compact(sessions)
	number := func(session string) (n int) {
		if _, err := fmt.Sscanf(session, "s%d", &n); err != nil {
			t.Fatalf("%q has no number", session)
		}
		return n
	}
	inOrder := slices.IsSortedFunc(sessions[1:len(sessions)-1], func(a, b string) int { return number(a) - number(b) })
	if len(sessions) != 1+30-lost+1 || sessions[0] != "first" || sessions[len(sessions)-1] != "last" || !inOrder || told == 0 {
		t.Errorf("stored %q, %d lost, %d times told", sessions, lost, told)
	}
}

// living says which gateways live.
type living struct {
	mu   sync.Mutex
	dead map[string]bool
}

func (l *living) Alive(gateway string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.dead[gateway]
}

func (l *living) set(gateway string, dead bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead[gateway] = dead
}

// die ends a log as a killed process does: nothing more is sent.
func (l *Log) die() {
	l.conn.Conn.Close()
	l.cancel()
	l.Close()
}

func sweep(t testing.TB, l *Log) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { l.Sweep(ctx) })
	return func() { cancel(); work.Wait() }
}

func TestConnectionsOfADeadGateway(t *testing.T) {
	ns := natstest.Run(t)
	who := &living{dead: map[string]bool{}}
	dead := open(t, ns, "g1", nil)
	const n = 1100 // more than are read at once
	for i := range n {
		dead.Connected(fmt.Sprint("s", i), fmt.Sprint("user", i), "", "")
	}
	left := dead.Connected("left", "carol", "", "")
	left.Disconnected(1000, "normal")
	eventually(t, "the events", func() bool { return dead.Stats().Appended == n+2 })
	eventually(t, "the entries", func() bool { return len(entries(t, ns)) == n+1 })
	dead.die()

	l := open(t, ns, "g2", func(o *Options) { o.Alive = who.Alive })
	c := l.Connected("mine", "bob", "", "")
	eventually(t, "the event", func() bool { return l.Stats().Appended == 1 })
	stop := sweep(t, l)
	who.set("g1", true)
	eventually(t, "the dead gateway's connections to be told", func() bool { return l.Stats().Appended == n+1 })
	eventually(t, "its entries to go", func() bool { return slices.Equal(entries(t, ns), []string{"g2", "g2.mine"}) })
	stop()
	c.Disconnected(1000, "normal")
	l.Close()
	gone := map[string]int{}
	for _, line := range stored(t, ns) {
		if strings.HasSuffix(line, " gateway_lost") {
			gone[line]++
		}
	}
	if len(gone) != n || gone["disconnect user7 s7 gateway_lost"] != 1 {
		t.Errorf("%d connections were told to be gone", len(gone))
	}
}

// A gateway that was taken for dead, and is not, tells its connections again.
func TestGatewayThatWasTakenForDead(t *testing.T) {
	ns := natstest.Run(t)
	who := &living{dead: map[string]bool{"g1": true}}
	var c *Connection
	var open1 iter.Seq2[*Connection, []string] = func(yield func(*Connection, []string) bool) { yield(c, []string{"chat.lobby"}) }
	l := open(t, ns, "g1", func(o *Options) { o.Open = open1 })
	c = l.Connected("s1", "alice", "", "")
	eventually(t, "the event", func() bool { return l.Stats().Appended == 1 })
	other := open(t, ns, "g2", func(o *Options) { o.Alive = who.Alive })
	stop := sweep(t, other)
	eventually(t, "it to be told", func() bool { return other.Stats().Appended == 1 })
	who.set("g1", false)
	eventually(t, "it to be told again", func() bool { return l.Stats().Appended == 3 })
	stop()
	eventually(t, "the entry", func() bool { return slices.Contains(entries(t, ns), "g1.s1") })
	c.Disconnected(1000, "normal")
	l.Close()
	other.Close()
	want := []string{"connect alice s1", "disconnect alice s1 gateway_lost", "connect alice s1", "subscribe alice s1 chat.lobby", "disconnect alice s1 normal"}
	if got := stored(t, ns); !slices.Equal(got, want) {
		t.Errorf("stored %q", got)
	}
	if c.life != 1 || id("s1", Disconnect, 1) == id("s1", Disconnect, 0) {
		t.Error("the two Disconnects have one id: a receiver would drop the second")
	}
}

// What a gateway writes that was taken for dead, once it knows that, is not touched.
func TestBuryingTouchesNothingNew(t *testing.T) {
	ns := natstest.Run(t)
	l, other := open(t, ns, "g1", nil), open(t, ns, "g2", nil)
	old := l.Connected("old", "alice", "", "")
	eventually(t, "the entry", func() bool { return slices.Contains(entries(t, ns), "g1.old") })
	mark, err := other.write(t.Context(), "g1")
	if err != nil {
		t.Fatal(err)
	}
	recent := l.Connected("new", "alice", "", "")
	eventually(t, "the entry", func() bool { return slices.Contains(entries(t, ns), "g1.new") })
	st, err := l.js.Stream(t.Context(), bucketStream)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := st.CreateConsumer(t.Context(), jetstream.ConsumerConfig{FilterSubject: bucketSubjects + "g1.*", AckPolicy: jetstream.AckNonePolicy})
	if err != nil {
		t.Fatal(err)
	}
	if told, left, err := other.buryNext(t.Context(), "g1", mark, consumer); told != 1 || left != 0 || err != nil {
		t.Errorf("told %d, left %d, %v", told, left, err)
	}
	if err := other.purge(t.Context(), "g1.*", mark); err != nil {
		t.Fatal(err)
	}
	if got := entries(t, ns); !slices.Contains(got, "g1.new") || slices.Contains(got, "g1.old") {
		t.Errorf("entries %v", got)
	}
	for _, c := range []*Connection{old, recent} {
		c.Disconnected(1000, "normal")
	}
	l.Close()
	other.Close()
}

func FuzzEntry(f *testing.F) {
	for _, s := range []string{`{"user":"alice","since":1}`, `{"user":"alice","life":-1}`, `{}`, `null`, ``, `[]`, `{"user":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, ok := decodeEntry(data)
		if ok && (e.User == "" || e.Life < 0) {
			t.Errorf("%s: %+v", data, e)
		}
		event := disconnect("s", e, e.Life)
		if _, err := event.message(); err != nil {
			t.Error(err)
		}
	})
}
