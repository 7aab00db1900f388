package cursor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// position is how far a stream was read. The zero position is before everything.
type position struct {
	Epoch string `json:"epoch"` // of the stream; empty: there was none
	Seq   uint64 `json:"seq"`   // all up to it is done
}

func positionKey(name, stream string) string { return "position." + name + "." + stream }

// Begin gives a name a position at the end of each stream in which it has none: what is stored from now on will be read. In a stream that
// does not exist that is everything.
func (s *Store) Begin(ctx context.Context, name string, streams ...string) error {
	for _, stream := range streams {
		var p position
		st, err := s.js.Stream(ctx, stream)
		if err == nil {
			info := st.CachedInfo()
			p = position{epochOf(info), info.State.LastSeq}
		} else if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("stream %s: %w", stream, err)
		}
		value, err := json.Marshal(p)
		if err != nil {
			return err
		}
		if _, err := s.put(ctx, positionKey(name, stream), value, 0, 0); err != nil && !moved(err) {
			return fmt.Errorf("bucket %s: %w", Bucket, err)
		}
	}
	return nil
}

// load returns a position and its revision; the zero position if there is none.
func (s *Store) load(ctx context.Context, key string) (p position, revision uint64, err error) {
	e, err := s.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return p, 0, nil
	}
	if err != nil {
		return p, 0, err
	}
	if err := json.Unmarshal(e.Value(), &p); err != nil {
		s.opts.Logger.Error("a position cannot be read: what the stream holds is read from its beginning", "key", key, "error", err)
		p = position{}
	}
	return p, e.Revision(), nil
}
