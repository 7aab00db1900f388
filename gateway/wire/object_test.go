package wire

import (
	"encoding/json"
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// readAll reads an object as encoding/json would, as far as an Object goes.
func readAll(text []byte) (map[string]any, error) {
	m, o := map[string]any{}, NewObject(text)
	for name, ok := o.Next(); ok; name, ok = o.Next() {
		name := string(name)
		switch c := o.peek(); {
		case c == '"':
			m[name] = o.Text()
		case c == '[':
			list := []any{}
			for _, s := range o.Texts() {
				list = append(list, s)
			}
			m[name] = list
		case c == '-', c-'0' <= 9:
			m[name] = o.Number()
		default:
			delete(m, name)
			o.Skip()
		}
	}
	return m, o.Err()
}

// FuzzObject: what an Object accepts is JSON, and means what encoding/json says it means.
func FuzzObject(f *testing.F) {
	for _, s := range []string{
		`{"sub":"alice","exp":1900000000.5,"subscribe":["chat.>","user.{user}"],"publish":[],"x":{"y":[null]}}`,
		`{"a":"\u00e9\ud83d\ude00","\u0062":-0.0e-1} `, `{}`, `[]`, `{"a":1,}`, `{"a":"b"}{}`, `{"a":["b",1]}`, `{"a":"\ud83d"}`, "",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !utf8.Valid(text) {
			return
		}
		got, err := readAll(text)
		if err != nil {
			if !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrType) {
				t.Fatal(err)
			}
			return
		}
		var want map[string]any
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatalf("%q was accepted, and is not JSON: %v", text, err)
		}
		for name, v := range want {
			switch v.(type) {
			case bool, nil, map[string]any:
				delete(want, name)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}

func TestObjectSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]error{
		`{"a":"b"}`:      nil,
		` { } `:          nil,
		`null`:           ErrType,
		`["a"]`:          ErrType,
		`{"a":["b",1]}`:  ErrType,
		`{"a":"\udc00"}`: ErrType,
		`{"a":1e999}`:    ErrType,
		``:               ErrSyntax,
		`{"a"}`:          ErrSyntax,
		`{"a":}`:         ErrSyntax,
		`{"a":"b"`:       ErrSyntax,
		`{"a":"b"}}`:     ErrSyntax,
		`{"a":01}`:       ErrSyntax,
	} {
		if _, err := readAll([]byte(text)); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
}
