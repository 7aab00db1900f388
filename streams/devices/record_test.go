package devices

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestRecordText(t *testing.T) {
	r := record{
		mark: mark{1795320748123, "Dt7ybdUCd0iXmuQ3fG2kTa"}, seen: time.Date(2026, 11, 22, 5, 12, 28, 999, time.FixedZone("", 3600)),
		positions: []Position{{"orders.*.status", 1, "t7", 5120}, {`odd"\` + "\x00é", 2, "", 1<<64 - 1}},
	}
	b, err := r.encode()
	want := `{"owner":"Dt7ybdUCd0iXmuQ3fG2kTa","taken":1795320748123,"seen":"2026-11-22T04:12:28Z","positions":[["orders.*.status",1,"t7",5120],["odd\"\\\u0000é",2,"",18446744073709551615]]}`
	if err != nil || string(b) != want {
		t.Fatalf("%v\n%s\n%s", err, b, want)
	}
	got, err := decode(b)
	if err != nil || got.mark != r.mark || !reflect.DeepEqual(got.positions, r.positions) || got.seen.Unix() != r.seen.Unix() {
		t.Fatalf("%v %+v", err, got)
	}
	// Another version may say more.
	if _, err := decode([]byte(`{"owner":"o","taken":1,"more":{"a":[1]}}`)); err != nil {
		t.Fatal(err)
	}
}

func TestUnreadableRecords(t *testing.T) {
	for _, s := range []string{
		``, `null`, `[]`, `{}`, `{"owner":"o"}`, `{"taken":1}`, `{"owner":"o","taken":0}`, `{"owner":"o","taken":-1}`, `{"owner":"o","taken":9223372036854775807}`,
		`{"owner":"` + strings.Repeat("o", maxUser+1) + `","taken":1}`, `{"owner":"o","taken":1}}`, `{"owner":"o","taken":1,"seen":"yesterday"}`,
		`{"owner":"o","taken":1,"positions":[null]}`, `{"owner":"o","taken":1,"positions":[["c",1,"e"]]}`, `{"owner":"o","taken":1,"positions":[["c",1,"e",1,1]]}`,
		`{"owner":"o","taken":1,"positions":[["",1,"e",1]]}`, `{"owner":"o","taken":1,"positions":[["c",3,"e",1]]}`, `{"owner":"o","taken":1,"positions":[["c",1,"e",-1]]}`,
		`{"owner":"o","taken":1,"positions":[{"channel":"c"}]}`, `{"owner":"o","taken":1,"positions":"c"}`, strings.Repeat(" ", MaxRecord) + `{"owner":"o","taken":1}`,
	} {
		if r, err := decode([]byte(s)); !errors.Is(err, errUnreadable) {
			t.Errorf("%.80s: %+v, %v", s, r, err)
		}
	}
}

func TestMarks(t *testing.T) {
	now := time.UnixMilli(1000)
	if got := (mark{}).next("a", now); got != (mark{1000, "a"}) {
		t.Error(got)
	}
	if got := (mark{1000, "b"}).next("a", now); got != (mark{1001, "a"}) || !got.after(mark{1000, "b"}) {
		t.Error(got)
	}
	a, b := mark{1, "a"}, mark{1, "b"}
	if a.after(b) || !b.after(a) || a.after(a) {
		t.Error("two sessions must have an order")
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"owner":"o","taken":17,"seen":"2026-11-22T04:12:28Z","positions":[["user.ann",1,"e",5]]}`, `{"positions":[[[]]]}`, `{"owner":"\ud800","taken":1e3}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if key, m, ok := parseAnnouncement(value); ok && (m.owner == "" || m.taken <= 0) {
			t.Fatalf("%q %+v", key, m)
		}
		_, _ = parseMessage(value)
		_, _ = parseAck(value)
		r, err := decode(value)
		if err != nil {
			return
		}
		again, err := r.encode()
		if errors.Is(err, ErrTooLarge) {
			return // quoted, it is longer
		}
		if err != nil {
			t.Fatal(err)
		}
		back, err := decode(again)
		if r.seen.Year() > 9998 || r.seen.Year() < 1 { // in UTC it has no such text
			return
		}
		if err != nil || back.mark != r.mark || !reflect.DeepEqual(back.positions, r.positions) || back.seen.Unix() != r.seen.Unix() {
			t.Fatalf("%v\n%+v\n%+v\n%s", err, r, back, again)
		}
		if next := r.mark.next("x", time.Now()); !next.after(r.mark) {
			t.Fatal("cannot be taken")
		}
	})
}
