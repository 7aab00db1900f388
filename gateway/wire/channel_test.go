package wire

import (
	"errors"
	"testing"
)

func TestChannelVectors(t *testing.T) {
	type vector struct {
		Name             string
		Channel, Pattern bool
	}
	for _, v := range vectors[vector](t, "channels.json") {
		for _, c := range []struct {
			what string
			want bool
			err  error
		}{{"channel", v.Channel, ValidChannel(v.Name)}, {"pattern", v.Pattern, ValidPattern(v.Name)}} {
			if (c.err == nil) != c.want {
				t.Errorf("%q as a %s: %v", v.Name, c.what, c.err)
			}
			var e *Error
			if c.err != nil && (!errors.As(c.err, &e) || e.Code != BadChannel) {
				t.Errorf("%q: %#v is no bad_channel", v.Name, c.err)
			}
		}
	}
}

func TestMatchVectors(t *testing.T) {
	type vector struct {
		Pattern, Channel string
		Match            bool
	}
	for _, v := range vectors[vector](t, "matches.json") {
		if ValidPattern(v.Pattern) != nil || ValidChannel(v.Channel) != nil {
			t.Errorf("%+v: outside the grammar", v)
		}
		if Match(v.Pattern, v.Channel) != v.Match {
			t.Errorf("%+v", v)
		}
	}
}

func TestCoversVectors(t *testing.T) {
	type vector struct {
		Pattern, Subscription string
		Covers                bool
	}
	for _, v := range vectors[vector](t, "covers.json") {
		if ValidPattern(v.Pattern) != nil || ValidSubscription(v.Subscription) != nil && v.Subscription[0] != '*' {
			t.Errorf("%+v: outside the grammar", v)
		}
		if Covers(v.Pattern, v.Subscription) != v.Covers {
			t.Errorf("%+v", v)
		}
	}
}

func TestNamespace(t *testing.T) {
	for channel, want := range map[string]string{"chat.lobby": "chat", "user.42.x": "user", "chat": "chat", "": ""} {
		if got := Namespace(channel); got != want {
			t.Errorf("%q: %q", channel, got)
		}
	}
}

func TestValidID(t *testing.T) {
	long := make([]byte, MaxID+1)
	for i := range long {
		long[i] = 'x'
	}
	for id, want := range map[string]bool{"m1": true, "!~": true, string(long[1:]): true, string(long): false, "": false, "a b": false, "a\n": false, "ä": false} {
		err := ValidID(id)
		var e *Error
		if (err == nil) != want || err != nil && (!errors.As(err, &e) || e.Code != BadRequest) {
			t.Errorf("%q: %v", id, err)
		}
	}
}
