package wire

import (
	"bytes"
	"strings"
	"testing"
)

const (
	publishFrame   = `{"id":1234,"publish":{"channel":"chat.lobby","data":{"user":"alice","text":"good morning, everybody","n":17},"id":"01J9ZK8Q4V","qos":2}}`
	subscribeFrame = `{"id":2,"subscribe":{"channel":"chat.lobby","since":4711,"epoch":"dj4v8q2m1","qos":1}}`
	messageFrame   = `{"message":{"channel":"chat.lobby","seq":4712,"prev":4711,"time":1700000000000,"from":"alice","data":{"text":"good morning, everybody","n":17}}}`
)

// large is a JSON document of about 64 KiB.
var large = []byte(`[` + strings.TrimSuffix(strings.Repeat(`{"name":"a sentence of moderate length, as people write","n":[1,2.5,true,null]},`, 800), ",") + `]`)

func TestAllocations(t *testing.T) {
	var d Decoder
	var c Command
	decode := func(frame string) func() {
		b := []byte(frame)
		return func() {
			d.Reset(b)
			if err := d.Next(&c); err != nil {
				t.Fatal(err)
			}
		}
	}
	dst := make([]byte, 0, 4096)
	body := []byte(`{"a":[1,2,3],"b":"x"}`)
	text := []byte("some\ntext")
	m := Message{Channel: "chat.lobby", Seq: 5, Prev: 4, ID: "m1", Time: 1700000000000, From: "alice", Body: body}
	h := HistoryReply{Channel: "chat.lobby", Epoch: "x", Messages: []Message{m, m}, Next: "c", Lost: &Range{1, 2}}
	ws := bytes.Repeat([]byte{0xff}, 100)
	e := Unavailable.Err()
	var s ServerDecoder
	message := []byte(messageFrame)
	ignore := func(*Incoming) error { return nil }
	for _, g := range []struct {
		name string
		most float64
		run  func()
	}{
		{"decode ping", 0, decode(`{"id":7,"ping":{}}`)},
		{"decode publish: channel", 1, decode(`{"id":4,"publish":{"channel":"chat.lobby","data":{"a":[1,"x\n"]}}}`)},
		{"decode publish: channel, id", 2, decode(publishFrame)},
		{"decode subscribe: channel, epoch", 2, decode(subscribeFrame)},
		{"decode ack: channel", 1, decode(`{"id":5,"ack":{"channel":"chat.lobby","seq":9}}`)},
		{"decode connect: token, client", 2, decode(`{"id":1,"connect":{"token":"abc","client":"js/1.0"}}`)},
		{"message push", 0, func() { dst = AppendMessagePush(dst[:0], &m) }},
		{"message push, text", 0, func() { m.Body, m.Encoding = text, EncodingOf(text); dst = AppendMessagePush(dst[:0], &m) }},
		{"message push, bytes", 0, func() { m.Body, m.Encoding = ws, EncodingOf(ws); dst = AppendMessagePush(dst[:0], &m) }},
		{"history reply", 0, func() { dst = AppendHistoryReply(dst[:0], 6, &h) }},
		{"publish reply", 0, func() {
			dst = AppendPublishReply(dst[:0], 4, &PublishReply{Channel: "chat.lobby", Seq: 5, Epoch: "x", Durability: "file"})
		}},
		{"subscribe reply", 0, func() {
			dst = AppendSubscribeReply(dst[:0], 4, &SubscribeReply{Channel: "chat.lobby", Epoch: "x", QoS: 1})
		}},
		{"connect reply", 0, func() {
			dst = AppendConnectReply(dst[:0], 1, &ConnectReply{Session: "s", User: "ä\n", Ping: 25, RetryWindow: 120})
		}},
		{"ack reply", 0, func() { dst = AppendAckReply(dst[:0], 4, "chat.lobby", 5) }},
		{"error reply", 0, func() { dst = AppendErrorReply(dst[:0], 4, e) }},
		{"gap push", 0, func() {
			dst = AppendGapPush(dst[:0], &Gap{Channel: "chat.lobby", Epoch: "x", From: 1, Reason: GapEpoch})
		}},
		{"reconnect push", 0, func() { dst = AppendReconnectPush(AppendExpiredPush(dst[:0], 30), 2.5, "draining") }},
		{"publish command", 0, func() {
			dst = AppendPublishBody(dst[:0], 4, &Publish{Channel: "chat.lobby", ID: "m1", QoS: 2}, body)
		}},
		{"read a message of a known channel", 0, func() {
			if err := s.Decode(message, ignore); err != nil {
				t.Fatal(err)
			}
		}},
		{"encoding of 64 KiB", 0, func() { EncodingOf(large) }},
		{"match", 0, func() { Match("chat.*.>", "chat.lobby.x.y") }},
		{"channel", 0, func() { _ = ValidChannel("chat.lobby.x.y") }},
	} {
		g.run()
		if got := testing.AllocsPerRun(100, g.run); got > g.most {
			t.Errorf("%s: %v allocations, at most %v are allowed", g.name, got, g.most)
		}
	}
}

func benchmarkDecode(b *testing.B, frame string) {
	raw := []byte(frame)
	var d Decoder
	var c Command
	b.ReportAllocs()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		d.Reset(raw)
		if err := d.Next(&c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodePublish(b *testing.B)   { benchmarkDecode(b, publishFrame) }
func BenchmarkDecodeSubscribe(b *testing.B) { benchmarkDecode(b, subscribeFrame) }
func BenchmarkDecodePing(b *testing.B)      { benchmarkDecode(b, `{"id":7,"ping":{}}`) }
func BenchmarkDecodePublish64K(b *testing.B) {
	benchmarkDecode(b, `{"id":1,"publish":{"channel":"chat.lobby","data":`+string(large)+`}}`)
}

func BenchmarkEncodingOf(b *testing.B) {
	for name, body := range map[string][]byte{"128B": large[1:][:78], "64K": large, "64KString": []byte(`"` + strings.Repeat("x", 1<<16) + `"`)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				EncodingOf(body)
			}
		})
	}
}

func BenchmarkAppendMessagePush(b *testing.B) {
	m := Message{Channel: "chat.lobby", Seq: 4712, Prev: 4711, Time: 1700000000000, From: "alice", Body: []byte(`{"text":"good morning, everybody","n":17}`)}
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendMessagePush(dst[:0], &m)
	}
}

func BenchmarkAppendPublishReply(b *testing.B) {
	r := PublishReply{Channel: "chat.lobby", Seq: 4712, Epoch: "dj4v8q2m1", Durability: "file"}
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendPublishReply(dst[:0], 17, &r)
	}
}

func BenchmarkReadMessage(b *testing.B) {
	frame := []byte(messageFrame)
	ignore := func(*Incoming) error { return nil }
	b.Run("remembering", func(b *testing.B) {
		var d ServerDecoder
		b.ReportAllocs()
		for b.Loop() {
			_ = d.Decode(frame, ignore)
		}
	})
	b.Run("once", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = DecodeServer(frame, ignore)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for b.Loop() {
		Match("orders.*.status.>", "orders.4711.status.eu.shipped")
	}
}
