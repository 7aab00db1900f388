package dead_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/jetwire/jetwire/streams/dead"
	"github.com/jetwire/jetwire/streams/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEnsure(t *testing.T) {
	s := natstest.Run(t)
	js, err := jetstream.New(s.Conn())
	if err != nil {
		t.Fatal(err)
	}
	config := func() jetstream.StreamConfig {
		t.Helper()
		st, err := js.Stream(t.Context(), dead.Stream)
		if err != nil {
			t.Fatal(err)
		}
		return st.CachedInfo().Config
	}
	for range 2 {
		if err := dead.Ensure(t.Context(), js, dead.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	if c := config(); c.MaxAge != dead.DefaultMaxAge || c.MaxBytes != dead.DefaultMaxBytes || c.Storage != jetstream.FileStorage {
		t.Errorf("%+v", c)
	}
	c := config()
	c.Description = "a person's own words"
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := dead.Ensure(t.Context(), js, dead.Options{MaxAge: time.Minute, MaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	if c := config(); c.MaxAge != time.Minute || c.MaxBytes != 1<<20 || c.Duplicates > c.MaxAge || c.Description != "a person's own words" {
		t.Errorf("%+v", c)
	}
	if err := dead.Ensure(t.Context(), js, dead.Options{Memory: true}); !errors.Is(err, dead.ErrRefused) {
		t.Errorf("other storage: %v", err)
	}
}

// TestLetterIsKeptOnce: a letter that is put there again, since it was not known whether it was, is there once, as it was.
func TestLetterIsKeptOnce(t *testing.T) {
	s := natstest.Run(t)
	js, err := jetstream.New(s.Conn())
	if err != nil {
		t.Fatal(err)
	}
	if err := dead.Ensure(t.Context(), js, dead.Options{}); err != nil {
		t.Fatal(err)
	}
	header := nats.Header{"Jw-From": {"alice"}, "Nats-Msg-Id": {"m1"}, "Nats-TTL": {"1s"}, "Nats-Expected-Stream": {"other"}}
	l := dead.Letter{Reason: "not\r\nJw-From: mallory", Consumer: "refunds", Deliveries: 5, Stream: "jetwire_commands", Seq: 17, Time: time.Unix(1_700_000_000, 5)}
	for i := range 2 {
		ack, err := dead.Post(t.Context(), js, l.Message("command.billing.refund", header, []byte("body")))
		if err != nil || ack.Sequence != 1 || ack.Duplicate != (i == 1) {
			t.Fatalf("%+v, %v", ack, err)
		}
	}
	st, err := js.Stream(t.Context(), dead.Stream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := st.GetLastMsgForSubject(t.Context(), "jetwire.dead.command.billing.refund")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Jw-From": "alice", dead.HeaderReason: "not  Jw-From: mallory", dead.HeaderConsumer: "refunds", dead.HeaderDeliveries: "5",
		dead.HeaderStream: "jetwire_commands", dead.HeaderSeq: "17", dead.HeaderTime: "2023-11-14T22:13:20.000000005Z", "Nats-TTL": "",
	} {
		if got := m.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	huge := l.Message("command.billing.refund", nil, make([]byte, s.Conn().MaxPayload()))
	huge.Header.Del("Nats-Msg-Id")
	if _, err := dead.Post(t.Context(), js, huge); err != nil {
		t.Fatal(err)
	}
	if h, err := st.GetMsg(t.Context(), 2); err != nil || len(h.Data) != 0 || !strings.Contains(h.Header.Get(dead.HeaderReason), "too large to be kept") {
		t.Errorf("%v: %v", err, h)
	}
	if string(m.Data) != "body" || header.Get("Nats-Msg-Id") != "m1" || len(header) != 4 {
		t.Errorf("%q, %v", m.Data, header)
	}
}
