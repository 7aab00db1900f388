package streams

import (
	"errors"
	"testing"
)

func TestFaultRefusesAtOnce(t *testing.T) {
	broken := errors.New("disk full")
	r := newRig(t, func(o *Options) {
		o.Fault = func(stream string) error {
			if stream == "JW_full" {
				return broken
			}
			return nil
		}
	})
	if _, err := r.publish(Publication{Channel: "full.x", QoS: 1}); !errors.Is(err, ErrStoreFull) || !errors.Is(err, broken) {
		t.Fatal(err)
	}
	r.store("other.x", "goes on")
}
