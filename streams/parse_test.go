package streams

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/streams/origin"
	"github.com/jetwire/jetwire/streams/tap"
)

func TestParseAck(t *testing.T) {
	for in, want := range map[string]error{
		`{"stream":"JW_chat", "seq":22}`: nil,
		`{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"JW_chat","seq":0}`: ErrStoreFull,
		`{"error":{"code":500,"err_code":10047,"description":"insufficient storage"},"stream":"JW_chat","seq":0}`:   ErrStoreFull,
		`{"error":{"code":400,"err_code":10054,"description":"too big"}}`:                                           ErrTooLarge,
		`{"error":{"code":429,"err_code":10167,"description":"too many requests"}}`:                                 ErrUnavailable,
		`{"stream":"JW_chat", "seq":0}`: ErrTimeout,
		`+OK`:                           ErrTimeout,
	} {
		if a, err := parseAck([]byte(in)); !errors.Is(err, want) || (err == nil) != (a.Seq == 22) {
			t.Errorf("%s: %+v, %v", in, a, err)
		}
	}
}

func TestParseAckSubject(t *testing.T) {
	for in, want := range map[string]place{
		"$JS.ACK.JW_chat.c1.1.22.3.1700000000000000001.4":                     {22, 3, 1700000000000000001, 4},
		"$JS.ACK.hub.ACCHASH.JW_chat.c1.1.22.3.1700000000000000001.4":         {22, 3, 1700000000000000001, 4},
		"$JS.ACK._.ACCHASH.JW_chat.c1.1.22.3.1700000000000000001.4.randomtok": {22, 3, 1700000000000000001, 4},
	} {
		if got, ok := parseAckSubject(in); !ok || got != want {
			t.Errorf("%s: %+v, %v", in, got, ok)
		}
	}
}

// FuzzAckSubject only asks that nothing breaks, and that what is read is written there.
func FuzzAckSubject(f *testing.F) {
	f.Add("$JS.ACK.JW_chat.c1.1.22.3.1700000000000000001.4")
	f.Add("$JS.ACK._.ACCHASH.JW_chat.c1.1.22.3.1700000000000000001.4.randomtok")
	f.Fuzz(func(t *testing.T, s string) {
		if p, ok := parseAckSubject(s); ok && !strings.Contains(s, fmt.Sprint(p.sseq)) {
			t.Fatalf("%q: %+v", s, p)
		}
	})
}

// FuzzAuthor holds what is read of taken messages to what is read of nats.go's.
func FuzzAuthor(f *testing.F) {
	for _, s := range []string{"NATS/1.0\r\nJw-From: a%20b\r\nJw-Id: 1\r\n\r\n", "NATS/1.0\r\nJw-From:\r\nJw-From: x\r\nNats-Msg-Id: y\r\nNats-Msg-Id: z\r\n\r\n", "NATS/1.0 100 Idle\r\n\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var a arena
		m := a.message([]byte("chat.x"), tap.Header(data), data)
		h, err := nats.DecodeHeadersMsg(data)
		if err != nil {
			return
		}
		if from, id := origin.Of(h); m.From != from || m.ID != id || m.Channel != "chat.x" || string(m.Body) != string(data) {
			t.Fatalf("%q: %+v, want from %q, id %q", data, m, from, id)
		}
	})
}

// FuzzWhereabouts holds what is read of a direct get's answer to what nats.go and the time package say.
func FuzzWhereabouts(f *testing.F) {
	f.Add([]byte("NATS/1.0\r\nNats-Stream: JW_chat\r\nNats-Subject: chat.x\r\nNats-Sequence: 7\r\nNats-Time-Stamp: 2026-11-22T07:58:32.527704828Z\r\n\r\n"))
	f.Add([]byte("NATS/1.0\r\nNats-Sequence: 1\r\nNats-Sequence: 7\r\nNats-Time-Stamp: x\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		at, found, err := locate(tap.Header(data))
		h, bad := nats.DecodeHeadersMsg(data)
		if bad != nil {
			return
		}
		last := func(key string) string {
			if v := h[key]; len(v) > 0 {
				return v[len(v)-1]
			}
			return ""
		}
		if found != (last("Nats-Sequence") != "") {
			t.Fatalf("%q: found %v", data, found)
		}
		if !found || err != nil {
			return
		}
		when, _ := time.Parse(time.RFC3339Nano, last("Nats-Time-Stamp"))
		if fmt.Sprint(at.seq) != strings.TrimLeft(last("Nats-Sequence"), "0") && at.seq != 0 || at.time != when.UnixNano() || string(at.subject) != last("Nats-Subject") {
			t.Fatalf("%q: %+v", data, at)
		}
	})
}

// TestArena: what messages share is not written to again, and costs a small part of an allocation.
func TestArena(t *testing.T) {
	const count = 256
	h := tap.Header("NATS/1.0\r\nJw-From: alice\r\nJw-Id: 17\r\n\r\n")
	body := make([]byte, 128)
	var a arena
	messages := make([]*Message, count)
	fill := func() {
		for i := range messages {
			body[0] = byte(i)
			messages[i] = a.message([]byte(channelName(i)), h, body)
		}
		a.rest()
	}
	fill()
	for i, m := range messages {
		if m.Channel != channelName(i) || m.From != "alice" || m.ID != "17" || len(m.Body) != 128 || m.Body[0] != byte(i) || cap(m.Body) != 128 {
			t.Fatalf("%d: %+v", i, m)
		}
	}
	if n := testing.AllocsPerRun(10, fill); n > 24 {
		t.Errorf("%v allocations for %d messages", n, count)
	}
	alone := func() {
		messages[0] = a.message([]byte("chat.x"), h, body)
		a.rest()
	}
	if n := testing.AllocsPerRun(100, alone); n > 3 {
		t.Errorf("%v allocations for a message that comes alone", n)
	}
}

// TestFeedAllocates gates what a stored message costs from the connection to the feed.
func TestFeedAllocates(t *testing.T) {
	const count = 256
	f := &feed{subject: []byte("_INBOX.x")}
	f.mail.init()
	m := &tap.Message{Subject: []byte("chat.x"), Reply: []byte("$JS.ACK.JW_chat.c1.1.22.3.1700000000000000001.4"), Header: tap.Header("NATS/1.0\r\nJw-From: alice\r\n\r\n"), Body: make([]byte, 128)}
	n := testing.AllocsPerRun(10, func() {
		for range count {
			f.take(m)
		}
		f.rest()
		if got := len(f.mail.open()); got != count {
			t.Fatal(got)
		}
	})
	if n > 26 {
		t.Errorf("%v allocations for %d messages", n, count)
	}
}

// FuzzChannel holds what namespaceOf accepts to the grammar.
func FuzzChannel(f *testing.F) {
	for _, s := range []string{"chat.lobby", "chat", "a..b", "$x.y", "a.$b", "jetwire.x", "a.*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ns, err := namespaceOf(s)
		tokens := strings.Split(s, ".")
		valid := len(s) <= maxChannel && len(tokens) > 1 && validNamespace(tokens[0])
		for _, token := range tokens {
			valid = valid && token != "" && token[0] != '$' && strings.IndexFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '*' || r == '>' }) < 0
		}
		if valid != (err == nil) || valid && ns != tokens[0] {
			t.Fatalf("%q: %q, %v", s, ns, err)
		}
	})
}

func TestMux(t *testing.T) {
	x := &mux[int]{prefix: "_INBOX.x."}
	var replies []string
	for i := range 100 {
		replies = append(replies, x.add(i, int64(i)))
	}
	for i, r := range replies {
		if v, ok := x.get([]byte(r)); !ok || v != i {
			t.Fatal(r, v, ok)
		}
	}
	if v, ok := x.take([]byte(replies[7])); !ok || v != 7 {
		t.Fatal(v, ok)
	}
	if _, ok := x.take([]byte(replies[7])); ok {
		t.Fatal("taken twice")
	}
	if r := x.add(107, 1000); r != replies[7] {
		t.Fatalf("%s is not used again", replies[7])
	}
	expired := x.expire(time.Unix(0, 9))
	slices.Sort(expired)
	if !slices.Equal(expired, []int{0, 1, 2, 3, 4, 5, 6, 8, 9}) {
		t.Fatal(expired)
	}
	// An answer that comes after its time meets nobody, although the slot waits for another one.
	for range 9 {
		if r := x.add(200, 1000); slices.Contains(replies, r) {
			t.Fatalf("%s is used again", r)
		}
	}
	if _, ok := x.take([]byte(replies[3])); ok {
		t.Fatal("a late answer was taken for another")
	}
	for _, bad := range []string{"", "_INBOX.x.", "_INBOX.x.zz.0", "_INBOX.x.0", "_INBOX.x.0.9", "_INBOX.x.!.0"} {
		if _, ok := x.take([]byte(bad)); ok {
			t.Errorf("%q was taken", bad)
		}
	}
	if n := len(x.abandonAll()); n != 100 || x.len() != 0 {
		t.Fatal(n, x.len())
	}
}

func TestMuxAllocates(t *testing.T) {
	x := &mux[int]{prefix: "_INBOX.x."}
	subject := []byte(x.add(1, 1))
	x.take(subject)
	if n := testing.AllocsPerRun(100, func() {
		if r := x.add(1, 1); r != string(subject) {
			t.Fatal(r)
		}
		x.take(subject)
	}); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func TestRing(t *testing.T) {
	r := &ring{max: 10 * (messageOverhead + 14)}
	message := func(seq uint64) *Message { return &Message{Channel: "chat", Seq: seq, Body: make([]byte, 10)} }
	for seq := uint64(1); seq <= 300; seq += 3 {
		r.add([]*Message{message(seq), message(seq + 1)})
	}
	if r.n != 10 || r.size() != r.max {
		t.Fatalf("%d messages of %d bytes", r.n, r.size())
	}
	dst := make([]*Message, 4)
	if hits := r.fill(dst, []uint64{1, 290, 291, 292}); hits != 2 || dst[0] != nil || dst[1].Seq != 290 || dst[2] != nil || dst[3].Seq != 292 {
		t.Fatal(hits, dst)
	}
	r.forget(290)
	if r.get(290) != nil || r.get(289) == nil || r.size() != r.max-14 {
		t.Fatal("forget")
	}
	r.trim(295)
	if r.get(293) != nil || r.get(295) == nil {
		t.Fatal("trim")
	}
	r.clear()
	if r.get(299) != nil || r.size() != 0 {
		t.Fatal("clear")
	}
	r.add([]*Message{message(301)})
	if r.get(301) == nil {
		t.Fatal("add after clear")
	}
}
