package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// depthOf says how deep the arrays and objects of valid JSON are nested.
func depthOf(b []byte) (deepest int) {
	depth := 0
	dec := json.NewDecoder(bytes.NewReader(b))
	for {
		t, err := dec.Token()
		if err != nil {
			return deepest
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
			deepest = max(deepest, depth)
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

// FuzzDecoder: whatever the frame, the decoder ends without a panic, what it takes is written and read again as the same,
// and encoding/json agrees on which frames are JSON.
func FuzzDecoder(f *testing.F) {
	for _, v := range vectors[commandVector](f, "commands.json") {
		f.Add([]byte(v.Frame))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		before := bytes.Clone(frame)
		var d Decoder
		var c Command
		d.Reset(frame)
		objects, syntax := 0, false
		for {
			err := d.Next(&c)
			if err == io.EOF {
				break
			}
			if errors.Is(err, ErrSyntax) {
				syntax = true
				break
			}
			objects++
			var refused *Error
			if err != nil && (!errors.As(err, &refused) || refused.Code != BadRequest && refused.Code != UnknownCommand && refused.Code != BadChannel) {
				t.Fatalf("%q: %v", frame, err)
			}
			if err == nil && utf8.Valid(frame) {
				sameAgain(t, &c)
			}
		}
		if !bytes.Equal(frame, before) {
			t.Fatalf("the frame was written to: %q", frame)
		}
		// The oracle counts the objects of the frame in its own way.
		dec := json.NewDecoder(bytes.NewReader(frame))
		want, bad := 0, false
		for !bad {
			var m map[string]json.RawMessage
			var raw json.RawMessage
			err := dec.Decode(&raw)
			if err == io.EOF {
				break
			}
			bad = err != nil || len(raw) == 0 || raw[0] != '{' || json.Unmarshal(raw, &m) != nil || depthOf(raw) > MaxDepth
			if !bad {
				want++
			}
		}
		if bad != syntax || objects != want {
			if syntax && strings.Contains(d.fault, "nesting") || bad && depthOf(frame) > MaxDepth {
				return // the two count the depth from different places
			}
			t.Fatalf("%q: %d objects, syntax error %v; encoding/json: %d, %v", frame, objects, syntax, want, bad)
		}
	})
}

// sameAgain writes a command, reads it and compares.
func sameAgain(t *testing.T, c *Command) {
	var d Decoder
	var again Command
	written := appendCommand(nil, c)
	d.Reset(written)
	if err := d.Next(&again); err != nil || !reflect.DeepEqual(&again, c) {
		t.Fatalf("%+v\nwas written as %s\nand read as %+v, %v", *c, written, again, err)
	}
	if err := d.Next(&again); err != io.EOF {
		t.Fatalf("%s: more than one command", written)
	}
}

// FuzzServer: whatever the frame, a client's decoder ends without a panic, with and without memory, and what it reads
// is written and read again as the same.
func FuzzServer(f *testing.F) {
	for _, v := range vectors[serverVector](f, "server.json") {
		f.Add([]byte(v.Frame))
	}
	for _, v := range vectors[struct{ Frame string }](f, "reading.json") {
		f.Add([]byte(v.Frame))
	}
	var shared ServerDecoder
	f.Fuzz(func(t *testing.T, frame []byte) {
		var first []string
		err := DecodeServer(frame, func(in *Incoming) error {
			written := appendIncoming(nil, in)
			first = append(first, string(written))
			if !utf8.Valid(frame) || in.Kind == KindError && in.Error.Code == 0 || in.Kind == KindUnsubscribed && in.Unsubscribed.Error.Code == 0 {
				return nil
			}
			if !json.Valid(written) {
				t.Fatalf("written as %s", written)
			}
			err := DecodeServer(written, func(again *Incoming) error {
				if again.ID != in.ID && in.Kind < KindMessage || !sameBody(body(in), body(again)) {
					t.Fatalf("%+v\nwas written as %s\nand read as %+v", body(in), written, body(again))
				}
				return nil
			})
			if err != nil {
				t.Fatalf("%s: %v", written, err)
			}
			return nil
		})
		var second []string
		err2 := shared.Decode(frame, func(in *Incoming) error {
			second = append(second, string(appendIncoming(nil, in)))
			return nil
		})
		if (err == nil) != (err2 == nil) || !reflect.DeepEqual(first, second) {
			t.Fatalf("without memory %q, %v; with it %q, %v", first, err, second, err2)
		}
	})
}

// sameBody compares what two frames said. Messages without a sequence lose their prev when they are written.
func sameBody(a, b any) bool {
	if m, ok := a.(Message); ok {
		return sameMessage(m, b.(Message))
	}
	if x, ok := a.(CallReply); ok { // an empty body may be nil
		y := b.(CallReply)
		return x.Destination == y.Destination && bytes.Equal(x.Body, y.Body) && x.Encoding == y.Encoding
	}
	h, ok := a.(HistoryReply)
	if !ok {
		return reflect.DeepEqual(a, b)
	}
	g := b.(HistoryReply)
	if len(h.Messages) != len(g.Messages) {
		return false
	}
	for i := range h.Messages {
		if !sameMessage(h.Messages[i], g.Messages[i]) {
			return false
		}
	}
	h.Messages, g.Messages = nil, nil
	return reflect.DeepEqual(h, g)
}

func sameMessage(a, b Message) bool {
	if a.Seq == 0 {
		a.Prev = 0
	}
	same := bytes.Equal(a.Body, b.Body)
	a.Body, b.Body = nil, nil
	return same && reflect.DeepEqual(a, b)
}

// FuzzBody: any bytes make a JSON value that is valid, fits a text frame, and gives the bytes back.
func FuzzBody(f *testing.F) {
	for _, v := range vectors[struct{ Body vectorBody }](f, "bodies.json") {
		f.Add(v.Body.bytes())
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e := EncodingOf(body)
		want := Base64
		if utf8.Valid(body) {
			want = Text
			if json.Valid(body) && depthOf(body) <= MaxDepth {
				want = JSON
			}
		}
		if e != want {
			t.Fatalf("%q: encoding %d, want %d", body, e, want)
		}
		data := AppendData(nil, body, e)
		if !json.Valid(data) || !utf8.Valid(data) {
			t.Fatalf("%q: data %q", body, data)
		}
		back, err := DecodeBody(data, e)
		if e == JSON {
			body = bytes.Trim(body, " \t\r\n")
		}
		if err != nil || !bytes.Equal(back, body) {
			t.Fatalf("%q came back as %q, %v", body, back, err)
		}
	})
}

// FuzzDecodeBody: data of any kind is decoded as encoding/json does, or refused.
func FuzzDecodeBody(f *testing.F) {
	for _, s := range []string{`"a\n"`, `"\ud83d\ude00"`, `"\ud800"`, `"/w=="`, `1`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := DecodeBody(data, Text)
		var want string
		oracle := json.Unmarshal(data, &want) == nil && data[bytes.IndexAny(data, `"n`)] == '"'
		if err == nil && !oracle {
			t.Fatalf("%q is taken as %q", data, text)
		}
		if err == nil && utf8.Valid(data) && string(text) != want {
			t.Fatalf("%q: %q, want %q", data, text, want)
		}
		if err != nil && oracle && !strings.Contains(want, "\ufffd") {
			t.Fatalf("%q: %v, want %q", data, err, want)
		}
		raw, err := DecodeBody(data, Base64)
		if err == nil && !oracle {
			t.Fatalf("%q is taken as %q", data, raw)
		}
		if err == nil {
			again, err := DecodeBody(AppendData(nil, raw, Base64), Base64)
			if err != nil || !bytes.Equal(again, raw) {
				t.Fatalf("%q came back as %q, %v", raw, again, err)
			}
		}
	})
}

// FuzzMatch compares Match with splitting, and holds the grammar to what NATS needs.
func FuzzMatch(f *testing.F) {
	for _, v := range vectors[struct{ Pattern, Channel string }](f, "matches.json") {
		f.Add(v.Pattern, v.Channel)
	}
	for _, v := range vectors[struct{ Name string }](f, "channels.json") {
		f.Add(v.Name, v.Name)
	}
	f.Fuzz(func(t *testing.T, pattern, channel string) {
		got := Match(pattern, channel)
		if ValidChannel(pattern) == nil && ValidPattern(pattern) != nil {
			t.Fatalf("%q is a channel and no pattern", pattern)
		}
		if ValidChannel(channel) != nil {
			return
		}
		tokens := strings.Split(channel, ".")
		if len(channel) > MaxChannel || len(tokens) < 2 || Namespace(channel) != tokens[0] || strings.ContainsAny(channel, " *>\r\n\t") {
			t.Fatalf("%q is taken as a channel", channel)
		}
		for _, token := range tokens {
			if token == "" {
				t.Fatalf("%q has an empty token", channel)
			}
		}
		if ValidPattern(pattern) != nil {
			return
		}
		want := true
		parts := strings.Split(pattern, ".")
		for i, p := range parts {
			if p == ">" {
				want = want && len(tokens) > i
				tokens = tokens[:min(len(tokens), len(parts))]
				break
			}
			want = want && i < len(tokens) && (p == "*" || p == tokens[i])
		}
		if want = want && len(tokens) <= len(parts); got != want {
			t.Fatalf("%q matches %q: %v", pattern, channel, got)
		}
	})
}
