package hub

import (
	"slices"
	"testing"
)

func TestSubscribers(t *testing.T) {
	h := testHub(t)
	l := &fixedLog{epoch: always("e")}
	a, b, c := &recorder{}, &recorder{}, &recorder{}
	h.Subscribe(Request{Channel: "a.x", Log: l, Sink: a}, nothing)
	gone := h.Subscribe(Request{Channel: "a.x", Log: l, Sink: c}, nothing)
	h.Subscribe(Request{Channel: "a.x", Log: l, Sink: b}, nothing)
	h.Subscribe(Request{Channel: "a.*", Log: l, Sink: b}, nothing)
	h.Subscribe(Request{Channel: "a.y", Log: l, Sink: c}, nothing)
	gone.Cancel()
	for _, test := range []struct {
		channel string
		most    int
		want    []Sink
		count   int
	}{
		{"a.x", 9, []Sink{a, b, b}, 3}, {"a.x", 2, []Sink{a, b}, 3}, {"a.x", 0, nil, 3}, {"a.z", 9, []Sink{b}, 1}, {"b.x", 9, nil, 0},
	} {
		if got, count := h.Subscribers(test.channel, test.most); !slices.Equal(got, test.want) || count != test.count {
			t.Errorf("%s: %d of %d, want %d of %d", test.channel, len(got), count, len(test.want), test.count)
		}
	}
}
