package wire

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// next decodes the first command of a frame.
func next(frame string) (Command, error) {
	var d Decoder
	var c Command
	d.Reset([]byte(frame))
	err := d.Next(&c)
	return c, err
}

func TestLimits(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		name, before, after string
		fill                string
		most                int
	}{
		{"token", `{"connect":{"token":"`, `"}}`, "x", MaxToken},
		{"token of escapes", `{"connect":{"token":"`, `"}}`, `\u0041`, MaxToken},
		{"client", `{"connect":{"client":"`, `"}}`, "x", maxClient},
		{"channel", `{"unsubscribe":{"channel":"c.`, `"}}`, "x", MaxChannel - 2},
		{"message id", `{"publish":{"channel":"c.d","data":1,"id":"`, `"}}`, "x", MaxID},
		{"epoch", `{"subscribe":{"channel":"c.d","since":1,"epoch":"`, `"}}`, "x", MaxEpoch},
		{"cursor", `{"history":{"channel":"c.d","cursor":"`, `"}}`, "x", MaxCursor},
	} {
		if _, err := next(c.before + strings.Repeat(c.fill, c.most) + c.after); err != nil {
			t.Errorf("%s at its limit: %v", c.name, err)
		}
		if _, err := next(c.before + strings.Repeat(c.fill, c.most+1) + c.after); err == nil {
			t.Errorf("%s over its limit is taken", c.name)
		}
	}
	for _, over := range []string{
		`{"history":{"channel":"c.d","last":2147483648}}`,
		`{"history":{"channel":"c.d","limit":99999999999999999999999}}`,
		`{"history":{"channel":"c.d","since_time":9223372036855}}`,
		`{"history":{"channel":"c.d","until":0}}`,
	} {
		var e *Error
		if _, err := next(over); !errors.As(err, &e) || e.Code != BadRequest {
			t.Errorf("%s: %v", over, err)
		}
	}
	var e *Error
	if _, err := next(`{"id":1,"` + x(1000) + `":1}`); !errors.As(err, &e) || len(e.Message) > 64 {
		t.Errorf("an error repeats a long name: %v", err)
	}
}

// Every command is cut at every byte: a syntax error, never a command, a panic or a reading beyond the cut.
func TestCut(t *testing.T) {
	for _, v := range vectors[commandVector](t, "commands.json") {
		if len(v.Results) != 1 || v.Results[0].Malformed {
			continue
		}
		whole := strings.TrimSpace(v.Frame)
		for n := 1; n < len(whole); n++ {
			frame := []byte(whole[:n])
			var d Decoder
			var c Command
			d.Reset(frame)
			if err := d.Next(&c); !errors.Is(err, ErrSyntax) {
				t.Fatalf("%s: %v", frame, err)
			}
		}
	}
}

// Each vector with a command gives the same whatever stood in the Command before.
func TestDecoderOverwrites(t *testing.T) {
	full := Command{ID: 9, Op: OpHistory, Connect: Connect{"t", "c", "d"}, Subscribe: Subscribe{"a.b", 2, 7, true, "e"}, Unsubscribe: Unsubscribe{"a.b"},
		Publish: Publish{"a.b", []byte("1"), Text, "i", 2}, Ack: Ack{"a.b", 1, "e"}, History: History{"a.b", 1, 2, 3, 4, 5, true, "e", "c"}}
	c := full
	var d Decoder
	d.Reset([]byte(`{"ping":{}}`))
	if err := d.Next(&c); err != nil {
		t.Fatal(err)
	}
	c.Op = 0
	if got, want := appendCommand(nil, &c), `{"ping":{}}`; string(got) != want || c.Publish.Data != nil || c.Subscribe != (Subscribe{}) || c.History != (History{}) {
		t.Errorf("left over: %+v", c)
	}
}

func TestDecoderZero(t *testing.T) {
	var d Decoder
	if err := d.Next(new(Command)); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func TestSyntaxErrorSaysWhere(t *testing.T) {
	_, err := next(`{"id":1,"ping":{},}`)
	var s *SyntaxError
	if !errors.As(err, &s) || s.Offset != 18 {
		t.Errorf("%v", err)
	}
	if want := "malformed frame: a string was expected at byte 18"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

// The data of a command aliases the frame: nothing is copied, and appending to it must not overwrite what follows.
func TestPublishDataAliases(t *testing.T) {
	for _, data := range []string{`[1,2]`, `12345`, `"abc"`} {
		frame := []byte(`{"publish":{"channel":"c.d","data":` + data + `}}{"id":2,"ping":{}}`)
		var d Decoder
		var c Command
		d.Reset(frame)
		if err := d.Next(&c); err != nil {
			t.Fatal(err)
		}
		if &c.Publish.Data[0] != &frame[35] {
			t.Error("the data was copied")
		}
		_ = append(c.Publish.Data, "behind it"...)
		if err := d.Next(&c); err != nil || c.ID != 2 {
			t.Errorf("after an append to the data: %v", err)
		}
	}
}

func TestDecodeServerStops(t *testing.T) {
	stop := errors.New("stop")
	n := 0
	err := DecodeServer([]byte(`{"id":1,"ping":{}}{"id":2,"ping":{}}`), func(*Incoming) error { n++; return stop })
	if err != stop || n != 1 {
		t.Errorf("%d calls, %v", n, err)
	}
	n = 0
	err = DecodeServer([]byte(`{"id":1,"ping":{}}{"id":2,"ping":}`), func(*Incoming) error { n++; return nil })
	if !errors.Is(err, ErrSyntax) || n != 1 {
		t.Errorf("%d calls, %v", n, err)
	}
}

// Names are remembered by hash; two that fall into one slot must not be taken for each other.
func TestServerDecoderNames(t *testing.T) {
	var d ServerDecoder
	for round := range 2 {
		for i := range 2000 {
			m := Message{Channel: "room." + strings.Repeat("x", i%50) + string(rune('a'+i%26)), Seq: uint64(i + 1), From: string(rune('A' + i%26)), Body: []byte("1")}
			err := d.Decode(AppendMessagePush(nil, &m), func(in *Incoming) error {
				if in.Message.Channel != m.Channel || in.Message.From != m.From {
					t.Fatalf("round %d: got %q from %q, want %q from %q", round, in.Message.Channel, in.Message.From, m.Channel, m.From)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}
