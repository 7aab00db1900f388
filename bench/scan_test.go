package bench

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/jetwire/jetwire/gateway/wire"
)

func TestScanPushUnderstandsWhatServersSend(t *testing.T) {
	body := appendPayload(nil, 123456789, 42, 128)
	for name, m := range map[string]wire.Message{
		"stored": {Channel: "chat.lobby", Seq: 7, Prev: 5, Time: 1_700_000_000_123, From: "alice", Body: body},
		"id":     {Channel: "chat.lobby", Seq: 7, ID: "m-1", Time: 1, From: "al ice", Body: body},
		"live":   {Channel: "chat.lobby", From: "alice", Body: body},
		"bare":   {Channel: "chat.lobby", Body: body},
	} {
		frame := wire.AppendMessagePush(nil, &m)
		frame = wire.AppendMessagePush(frame, &m) // two in one frame
		var got push
		rest, ok := scanPush(frame, &got)
		if !ok || len(rest) != len(frame)/2 {
			t.Fatalf("%s: ok %v, %d bytes left of %d", name, ok, len(rest), len(frame))
		}
		if string(got.channel) != m.Channel || got.seq != m.Seq || got.prev != m.Prev || got.stored != (m.Seq != 0) ||
			got.sent != 123456789 || got.n != 42 {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestScanPushLeavesTheRestToTheDecoder(t *testing.T) {
	for _, frame := range []string{
		``, `{`, `{"message":{`, `{"message":{"channel":"a.b","data":1}}`,
		`{"message":{"channel":"a\"b","data":{"t":1,"n":1,"p":""}}}`,
		`{"message":{"channel":"a.b","data":{"t":1,"n":1,"p":"\""}}}`,
		`{"message":{"channel":"a.b","data":{"t":-1,"n":1,"p":""}}}`,
		`{"message":{"channel":"a.b","data":{"t":99999999999999999999,"n":1,"p":""}}}`,
		`{"message":{"channel":"a.b","data":{"t":1,"n":1,"p":""},"encoding":"text"}}`,
		`{"message":{"channel":"a.b","new":1,"data":{"t":1,"n":1,"p":""}}}`,
		`{"gap":{"channel":"a.b"}}`,
	} {
		var m push
		if _, ok := scanPush([]byte(frame), &m); ok {
			t.Errorf("%s: understood as %+v", frame, m)
		}
	}
}

func TestScanAnswer(t *testing.T) {
	for _, r := range []wire.PublishReply{
		{Channel: "a.b", Seq: 9, Epoch: "x1", Duplicate: true, Durability: "file"},
		{Channel: "a.b", Durability: "none"},
	} {
		var a answer
		rest, ok := scanAnswer(wire.AppendPublishReply(nil, 5000, &r), &a)
		if want := (answer{id: 5000, seq: r.Seq, duplicate: r.Duplicate, class: a.class}); !ok || len(rest) != 0 || a != want || a.class.String() != r.Durability {
			t.Errorf("got %+v, %v, want %+v", a, ok, want)
		}
	}
	for _, frame := range []string{
		`{"id":1,"publish":{"channel":"a.b","duplicate":0}}`, `{"id":1,"error":{}}`, `{"publish":{"channel":"a"}}`,
		`{"id":1,"publish":{"channel":"a.b","more":1}}`, `{"id":1,"publish":{"channel":"a.b"`,
	} {
		var a answer
		if _, ok := scanAnswer([]byte(frame), &a); ok {
			t.Errorf("%s: understood as %+v", frame, a)
		}
	}
}

func TestPayloadHasItsSize(t *testing.T) {
	for _, size := range []int{MinPayload, 100, 128, 1000, 4096} {
		p := appendPayload(nil, 1<<62, 9_999_999_999, size)
		if len(p) != size || !json.Valid(p) {
			t.Errorf("size %d: %d bytes: %s", size, len(p), p)
		}
		sent, n, rest, ok := scanPayload(p)
		if !ok || sent != 1<<62 || n != 9_999_999_999 || len(rest) != 0 {
			t.Errorf("size %d: read back as %d, %d, %q, %v", size, sent, n, rest, ok)
		}
	}
}

// FuzzScan holds the quick scans against the real decoder: where both understand a frame, they agree.
func FuzzScan(f *testing.F) {
	body := appendPayload(nil, 5, 6, 64)
	f.Add(wire.AppendMessagePush(nil, &wire.Message{Channel: "a.b", Seq: 3, Prev: 2, ID: "i", Time: 4, From: "u", Body: body}))
	f.Add(wire.AppendPublishReply(nil, 7, &wire.PublishReply{Channel: "a.b", Seq: 9, Epoch: "e", Durability: "file"}))
	f.Fuzz(func(t *testing.T, p []byte) {
		var (
			m push
			a answer
		)
		rest, isPush := scanPush(p, &m)
		var remembers memo
		for range 2 {
			if r := remembers.scan(p); (r != nil) != (isPush && len(rest) == 0) {
				t.Fatalf("%q: the memo says %+v", p, r)
			} else if r != nil && (r.n != m.n || r.sent != m.sent || r.seq != m.seq || r.prev != m.prev || string(r.channel) != string(m.channel)) {
				t.Fatalf("%q: the memo says %+v, the scan %+v", p, r, m)
			}
		}
		if !isPush {
			var isAnswer bool
			if rest, isAnswer = scanAnswer(p, &a); !isAnswer {
				return
			}
		}
		scanned := p[:len(p)-len(rest)]
		if strings.Count(string(scanned), `"`)%2 != 0 {
			t.Fatalf("ended inside a string: %q", scanned)
		}
		var all []wire.Incoming
		if wire.DecodeServer(scanned, func(in *wire.Incoming) error { all = append(all, *in); return nil }) != nil {
			return // less strict than the decoder, which servers have to please
		}
		if len(all) != 1 {
			t.Fatalf("%q holds %d", scanned, len(all))
		}
		in := all[0]
		if isPush {
			if in.Kind != wire.KindMessage || in.Message.Channel != string(m.channel) || in.Message.Seq != m.seq || in.Message.Prev != m.prev {
				t.Fatalf("%q: scanned %+v, decoded %+v", scanned, m, in.Message)
			}
			var body struct {
				T int64
				N uint64
			}
			if err := json.Unmarshal(in.Message.Body, &body); err == nil && (body.T != m.sent || body.N != m.n) {
				t.Fatalf("%q: scanned %+v, body %+v", scanned, m, body)
			}
			return
		}
		if in.Kind != wire.KindPublish || in.ID != a.id || in.Publish.Seq != a.seq || in.Publish.Duplicate != a.duplicate {
			t.Fatalf("%q: scanned %+v, decoded %+v", scanned, a, in.Publish)
		}
	})
}

// TestDeliveryAllocatesNothing holds the client's cost for each delivery down.
func TestDeliveryAllocatesNothing(t *testing.T) {
	ch := &channel{name: "a.b"}
	flow := newFlow(&Load{}, &fleet{}, []*channel{ch}, 1)
	l := &loop{fleet: flow.fleet, dialect: jetwire{}, sink: flow.newSink()}
	c := &conn{loop: l, phase: joined, tracks: []track{{ch: ch}}}
	n := uint64(0)
	var frame, body []byte
	allocs := testing.AllocsPerRun(1000, func() {
		n++
		body = appendPayload(body[:0], int64(n), n, 128)
		frame = wire.AppendMessagePush(frame[:0], &wire.Message{Channel: "a.b", Seq: n, Prev: n - 1, Time: 1, Body: body})
		for range 2 {
			if err := l.dialect.receive(c, frame, int64(n)); err != nil {
				t.Fatal(err)
			}
		}
	})
	if allocs > 0.5 { // the memo's buffers grow at first
		t.Errorf("%v allocations", allocs)
	}
	if d := l.sink.(*deliveries).counts; d.Received != 2002 || d.Duplicated != 1001 {
		t.Errorf("%+v", d)
	}
}

func BenchmarkMemo(b *testing.B) {
	frame := wire.AppendMessagePush(nil, &wire.Message{
		Channel: "bench.fanout.x.0", Seq: 70000, Prev: 69999, Time: 1_700_000_000_123, From: "jetbench",
		Body: appendPayload(nil, 123456789, 42, 128),
	})
	var m memo
	b.ReportAllocs()
	for b.Loop() {
		if m.scan(frame) == nil {
			b.Fatal("not understood")
		}
	}
}

func BenchmarkScanPush(b *testing.B) {
	frame := wire.AppendMessagePush(nil, &wire.Message{
		Channel: "bench.fanout.x.0", Seq: 70000, Prev: 69999, Time: 1_700_000_000_123, From: "jetbench",
		Body: appendPayload(nil, 123456789, 42, 128),
	})
	b.ReportAllocs()
	for b.Loop() {
		var m push
		if _, ok := scanPush(frame, &m); !ok {
			b.Fatal("not understood")
		}
	}
}
