package natsd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// book is a log that can be read while it is written.
type book struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *book) logger() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

func start(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func jet(t *testing.T, s *Server) jetstream.JetStream {
	t.Helper()
	nc, err := s.Connect("test", nats.MaxReconnects(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestStoredMessagesOutliveTheServer(t *testing.T) {
	dir, log := t.TempDir(), new(book)
	s := start(t, Options{Dir: dir, Logger: log.logger()})
	js := jet(t, s)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "JW_chat", Subjects: []string{"chat.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "chat.lobby", []byte("x")); err != nil {
		t.Fatal(err)
	}
	s.Shutdown()
	s.Shutdown() // may be called again

	s = start(t, Options{Dir: dir, Logger: log.logger()})
	stream, err := jet(t, s).Stream(t.Context(), "JW_chat")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 1 {
		t.Errorf("%d messages", n)
	}
	for _, want := range []string{`msg="recovering store: stream JW_chat"`, `msg="recovered store: stream JW_chat" part=nats messages=1 took=`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
	if strings.Contains(log.String(), "level=WARN") {
		t.Errorf("the log warns:\n%s", log)
	}
}

func TestNobodyElseConnects(t *testing.T) {
	s := start(t, Options{Dir: t.TempDir()})
	if a := s.Addr().(*net.TCPAddr); !a.IP.IsLoopback() || a.Port == 0 {
		t.Errorf("it listens on %v", a)
	}
	for _, o := range [][]nats.Option{nil, {nats.UserInfo(User, "")}, {nats.UserInfo(User+"-gateway", "guess")}} {
		nc, err := nats.Connect("nats://"+s.Addr().String(), o...)
		if err == nil {
			nc.Close()
		}
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("connected: %v", err)
		}
	}
}

func TestOthersConnectWithThePassword(t *testing.T) {
	s := start(t, Options{Dir: t.TempDir(), Listen: "0.0.0.0:0", Password: "0123456789"})
	addr := "nats://" + s.reachable()
	nc, err := nats.Connect(addr, nats.UserInfo(User, "0123456789"))
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	if _, err := nats.Connect(addr, nats.UserInfo(User, "x")); !errors.Is(err, nats.ErrAuthorization) {
		t.Error(err)
	}
	jet(t, s) // the process itself connects, too
}

func TestLimits(t *testing.T) {
	s := start(t, Options{Dir: t.TempDir(), MaxBody: 3 << 20})
	nc, err := s.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if nc.MaxPayload() < 3<<20 || nc.ConnectedServerName() != ServerName {
		t.Errorf("payload %d, name %s", nc.MaxPayload(), nc.ConnectedServerName())
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	str, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Storage: jetstream.MemoryStorage})
	if err != nil {
		t.Fatal(err)
	}
	// A stream takes 1,000 consumers unless the server is told otherwise.
	for i := range 1001 {
		c := jetstream.ConsumerConfig{Name: fmt.Sprint("c", i), MemoryStorage: true}
		if _, err := str.CreateConsumer(t.Context(), c); err != nil {
			t.Fatalf("consumer %d: %v", i, err)
		}
	}
}

func TestStartFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	for says, o := range map[string]Options{
		"address already in use": {Dir: dir, Listen: l.Addr().String(), Password: "x"},
		"password":               {Dir: dir, Listen: "127.0.0.1:0"},
		"port":                   {Dir: dir, Listen: "127.0.0.1:http", Password: "x"},
		"not a directory":        {Dir: filepath.Join("/dev/null", "x")},
	} {
		s, err := Start(t.Context(), o)
		if err == nil {
			s.Shutdown()
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	cancel(why)
	if _, err := Start(ctx, Options{Dir: t.TempDir()}); !errors.Is(err, why) {
		t.Error(err)
	}
}

func TestLongRecoveryIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(book)
		l := &logger{log: log.logger()}
		stop := l.reportRecovery(5 * time.Second)
		time.Sleep(6 * time.Second)
		if log.String() != "" {
			t.Errorf("reported without a recovery: %s", log)
		}
		l.Noticef("  Starting restore for stream '%s > %s'", "$G", "JW_chat")
		time.Sleep(10 * time.Second)
		if n := strings.Count(log.String(), `"recovering store: still at stream JW_chat"`); n != 2 {
			t.Errorf("reported %d times in 10 s:\n%s", n, log)
		}
		l.Noticef("  Restored %s messages for stream '%s > %s' in %v", "1,000", "$G", "JW_chat", time.Second)
		said := log.String()
		time.Sleep(10 * time.Second)
		if log.String() != said {
			t.Errorf("reported after the recovery: %s", log)
		}
		stop()
	})
}
