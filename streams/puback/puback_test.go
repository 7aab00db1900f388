package puback

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in        string
		seq       uint64
		duplicate bool
		count     int
	}{
		{`{"stream":"JW_chat", "seq":22}`, 22, false, 0},
		{`{"stream":"JW_chat","seq":22}`, 22, false, 0},
		{`{"stream":"JW_chat", "domain":"hub", "seq":18446744073709551615}`, 1<<64 - 1, false, 0},
		{`{"stream":"JW_chat","domain":"hub","seq":7,"duplicate": true}`, 7, true, 0},
		{`{"stream":"JW_chat", "seq":7,"duplicate":true}`, 7, true, 0},
		{`{"stream":"JW_chat", "seq":7,"duplicate":false}`, 7, false, 0},
		{`{"seq":7,"stream":"JW\u005fchat"}`, 7, false, 0},
		{`{"stream":"JW_chat", "seq":7,"val":"3"}`, 7, false, 0},
		{`{"stream":"JW_chat","seq":7,"batch":"b","count":3}`, 7, false, 3},
	} {
		a, err := Parse([]byte(c.in))
		if err != nil || string(a.Stream) != "JW_chat" || a.Seq != c.seq || a.Duplicate != c.duplicate || a.Count != c.count {
			t.Errorf("%s: %+v, %v", c.in, a, err)
		}
	}
}

func TestParseRefusal(t *testing.T) {
	for in, want := range map[string]jetstream.APIError{
		`{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"JW_chat","seq":0}`: {Code: 503, ErrorCode: 10077, Description: "maximum bytes exceeded"},
		`{"error":{"code":400,"err_code":10054,"description":"too big"}}`:                                           {Code: 400, ErrorCode: 10054, Description: "too big"},
		`{"error":{},"stream":"JW_chat","seq":7}`:                                                                   {},
	} {
		a, err := Parse([]byte(in))
		var got *jetstream.APIError
		if !errors.As(err, &got) || *got != want || a.Seq != 0 {
			t.Errorf("%s: %+v, %v", in, a, err)
		}
	}
}

func TestParseUnreadable(t *testing.T) {
	for _, in := range []string{`{"stream":"JW_chat"}`, `{"stream":"JW_chat", "seq":0}`, `{"stream":"","seq":7}`, `{"seq":7}`, `{"stream":"JW_chat","seq":-1}`, `+OK`, ``} {
		if a, err := Parse([]byte(in)); !errors.Is(err, ErrUnreadable) || a.Seq != 0 {
			t.Errorf("%s: %+v, %v", in, a, err)
		}
	}
}

// TestParseAllocates: what the server writes for a stored message is read for nothing.
func TestParseAllocates(t *testing.T) {
	for _, in := range []string{`{"stream":"JW_chat", "seq":22}`, `{"stream":"JW_chat", "domain":"hub", "seq":22,"duplicate": true}`} {
		data := []byte(in)
		if n := testing.AllocsPerRun(100, func() {
			if a, err := Parse(data); err != nil || a.Seq != 22 {
				t.Fatal(a, err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", in, n)
		}
	}
}

// FuzzParse holds the hand-written parser to encoding/json, and asks that what is no error names a message.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"stream":"JW_chat", "domain":"hub", "seq":22,"duplicate": true}`))
	f.Add([]byte(`{"stream":"JW_chat","seq":22}`))
	f.Add([]byte(`{"stream":"JW_chat","seq":7,"batch":"b","count":3}`))
	f.Add([]byte(`{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, ok := fast(data)
		if !ok {
			if a, err := Parse(data); (err == nil) != (a.Seq != 0 && len(a.Stream) > 0) {
				t.Fatalf("%q: %+v, %v", data, a, err)
			}
			return
		}
		var want struct {
			Stream    string `json:"stream"`
			Seq       uint64 `json:"seq"`
			Duplicate bool   `json:"duplicate"`
		}
		if err := json.Unmarshal(data, &want); err != nil || want.Stream != string(got.Stream) || want.Seq != got.Seq || want.Duplicate != got.Duplicate {
			t.Fatalf("%q: %+v; encoding/json: %+v, %v", data, got, want, err)
		}
	})
}
