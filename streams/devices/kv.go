package devices

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/puback"
	"github.com/jetwire/jetwire/streams/refusal"
	"github.com/jetwire/jetwire/streams/requests"
)

const (
	bucketName  = "jetwire_devices"
	streamName  = "KV_" + bucketName
	subjects    = "$KV." + bucketName + "."
	directGet   = "$JS.API.DIRECT.GET." + streamName
	messageGet  = "$JS.API.STREAM.MSG.GET." + streamName
	streamInfo  = "$JS.API.STREAM.INFO." + streamName
	streamPurge = "$JS.API.STREAM.PURGE." + streamName

	expectRevision = "Nats-Expected-Last-Subject-Sequence"
	headerRoom     = 1 << 10 // what a message may have beside a record
	maxCandidates  = 512     // records of one user that are compared when some must go
)

// kv is the bucket in JetStream.
type kv struct {
	conn *requests.Conn
	o    *Options
	js   jetstream.JetStream
}

var _ bucket = (*kv)(nil)

func (b *kv) get(key string, authoritative bool, done func(entry, error)) {
	if authoritative && b.o.Replicas > 1 {
		body := []byte(`{"last_by_subj":"` + subjects + key + `"}`) // a key has nothing to quote
		b.conn.Ask(&nats.Msg{Subject: messageGet, Data: body}, timeout, func(m *nats.Msg, err error) {
			if err = failure(m, err); err != nil {
				done(entry{}, err)
				return
			}
			done(parseMessage(m.Data))
		})
		return
	}
	b.conn.Ask(&nats.Msg{Subject: directGet + "." + subjects + key}, timeout, func(m *nats.Msg, err error) {
		if err = failure(m, err); err != nil {
			done(entry{}, err)
			return
		}
		done(parseDirect(m))
	})
}

// parseDirect reads the answer to a direct get.
func parseDirect(m *nats.Msg) (entry, error) {
	revision := last(m.Header, "Nats-Sequence")
	if revision == "" {
		if status := m.Header.Get("Status"); status != "404" {
			return entry{}, fmt.Errorf("direct get: %s %s", status, m.Header.Get("Description"))
		}
		return entry{}, nil
	}
	rev, err := strconv.ParseUint(revision, 10, 64)
	if err != nil {
		return entry{}, fmt.Errorf("direct get: %w", err)
	}
	return entryOf(rev, m.Header, m.Data), nil
}

// last returns the last value of a header: the server's, whatever was written before it.
func last(h nats.Header, key string) string {
	if v := h[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// entryOf knows the marks that nats kv del and nats kv purge leave.
func entryOf(rev uint64, h nats.Header, value []byte) entry {
	if h.Get("KV-Operation") != "" {
		return entry{rev: rev}
	}
	if value == nil {
		value = []byte{}
	}
	return entry{value: value, rev: rev}
}

// parseMessage reads the leader's answer.
func parseMessage(data []byte) (entry, error) {
	var a struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Seq    uint64 `json:"seq"`
			Header []byte `json:"hdrs"`
			Data   []byte `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return entry{}, fmt.Errorf("unreadable answer: %w", err)
	}
	switch {
	case a.Error == nil:
	case a.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return entry{}, nil
	default:
		return entry{}, apiError(a.Error)
	}
	var h nats.Header
	if len(a.Message.Header) > 0 {
		var err error
		if h, err = nats.DecodeHeadersMsg(a.Message.Header); err != nil {
			return entry{}, fmt.Errorf("unreadable answer: %w", err)
		}
	}
	return entryOf(a.Message.Seq, h, a.Message.Data), nil
}

func (b *kv) put(key string, value []byte, rev uint64, done func(uint64, error)) {
	m := &nats.Msg{Subject: subjects + key, Data: value, Header: nats.Header{expectRevision: {strconv.FormatUint(rev, 10)}}}
	b.conn.Ask(m, timeout, func(m *nats.Msg, err error) {
		if err = failure(m, err); err != nil {
			done(0, err)
			return
		}
		done(parseAck(m.Data))
	})
}

// parseAck reads what JetStream answers to a write.
func parseAck(data []byte) (rev uint64, err error) {
	a, err := puback.Parse(data)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return 0, apiError(api)
	}
	if err == nil && string(a.Stream) != streamName {
		err = puback.ErrUnreadable
	}
	if err != nil {
		return 0, err
	}
	return a.Seq, nil
}

// apiError maps the error codes of JetStream.
func apiError(e *jetstream.APIError) error {
	switch {
	case refusal.Moved(e.ErrorCode):
		return errConflict
	case e.ErrorCode == jetstream.JSErrCodeStreamNotFound:
		return errNoBucket
	case refusal.TooLarge(e.ErrorCode):
		return fmt.Errorf("%w: the bucket takes no value of this size; raise its limit: nats stream edit %s --max-msg-size %d", ErrTooLarge, streamName, MaxRecord+headerRoom)
	}
	return fmt.Errorf("JetStream refused it: %w", e)
}

// ensure makes the bucket, or makes it what the options say.
func (b *kv) ensure(ctx context.Context) (time.Time, error) {
	info, err := b.info(ctx)
	if errors.Is(err, errNoBucket) {
		c := jetstream.KeyValueConfig{Bucket: bucketName, Description: "Jetwire: positions of durable sessions", History: 1,
			MaxValueSize: MaxRecord + headerRoom, TTL: b.o.Expiry, Storage: b.storage(), Replicas: b.o.Replicas}
		if _, err = b.js.CreateKeyValue(ctx, c); err != nil && !errors.Is(err, jetstream.ErrBucketExists) { // another gateway may have been faster
			return time.Time{}, unavailable(err)
		}
		b.o.Logger.Info("made the bucket of devices", "bucket", bucketName)
		info, err = b.info(ctx)
	}
	if err != nil {
		return time.Time{}, unavailable(err)
	}
	c := info.Config
	if c.Storage != b.storage() {
		return time.Time{}, fmt.Errorf("%w: the bucket %s keeps its records in %s storage, the configuration says %s, and storage cannot be changed; "+
			"change the configuration back, or delete the bucket with all its records: nats kv del %s", ErrRefused, bucketName, c.Storage, b.storage(), bucketName)
	}
	if c.MaxMsgsPerSubject == 1 && c.MaxAge == b.o.Expiry && c.Replicas == b.o.Replicas && c.AllowDirect && c.Discard == jetstream.DiscardNew {
		return info.Created, nil
	}
	c.MaxMsgsPerSubject, c.MaxAge, c.Replicas, c.AllowDirect, c.Discard = 1, b.o.Expiry, b.o.Replicas, true, jetstream.DiscardNew
	c.Duplicates = min(c.Duplicates, c.MaxAge)
	if _, err := b.js.UpdateStream(ctx, c); err != nil {
		return time.Time{}, unavailable(err)
	}
	return info.Created, nil
}

// info asks for the bucket's state; errNoBucket: it does not exist.
func (b *kv) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	info := &jetstream.StreamInfo{}
	return info, b.api(ctx, streamInfo, nil, info)
}

func (b *kv) storage() jetstream.StorageType {
	if b.o.Memory {
		return jetstream.MemoryStorage
	}
	return jetstream.FileStorage
}

func unavailable(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: bucket %s: %w", ErrUnavailable, bucketName, err)
}

// usage asks what the bucket holds.
func (b *kv) usage(ctx context.Context) (Usage, error) {
	info, err := b.info(ctx)
	if err != nil {
		return Usage{}, unavailable(err)
	}
	state := info.State
	return Usage{Records: state.Msgs, Bytes: state.Bytes}, nil
}

func (b *kv) trim(ctx context.Context, user string, limit int, spare func(string) bool) (removed int, err error) {
	names, err := b.devicesOf(ctx, user)
	if err != nil || len(names) <= limit {
		return 0, err
	}
	surplus := len(names) - limit
	names = slices.DeleteFunc(names, func(subject string) bool { return spare(strings.TrimPrefix(subject, subjects)) })
	if len(names) > maxCandidates {
		names = names[:maxCandidates]
	}
	if len(names) == 0 {
		return 0, nil
	}
	oldest, err := b.revisions(ctx, names)
	if err != nil {
		return 0, err
	}
	for _, e := range oldest[:min(surplus, len(oldest))] {
		// Only up to this revision: a record that is being written stays.
		body, err := json.Marshal(map[string]any{"filter": e.subject, "seq": e.rev + 1})
		if err != nil {
			return removed, err
		}
		var purged struct {
			Purged uint64 `json:"purged"`
		}
		if err := b.api(ctx, streamPurge, body, &purged); err != nil {
			return removed, err
		}
		removed += int(purged.Purged)
	}
	return removed, nil
}

// devicesOf returns the subjects of a user's records.
func (b *kv) devicesOf(ctx context.Context, user string) ([]string, error) {
	body, err := json.Marshal(map[string]string{"subjects_filter": subjects + user + ".*"})
	if err != nil {
		return nil, err
	}
	var info struct {
		State struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	if err := b.api(ctx, streamInfo, body, &info); err != nil {
		return nil, err
	}
	return slices.Collect(maps.Keys(info.State.Subjects)), nil
}

// api makes one request to JetStream's API. It fails as soon as the connection does.
func (b *kv) api(ctx context.Context, subject string, body []byte, to any) error {
	type answer struct {
		m   *nats.Msg
		err error
	}
	c := make(chan answer, 1)
	b.conn.Ask(&nats.Msg{Subject: subject, Data: body}, timeout, func(m *nats.Msg, err error) { c <- answer{m, failure(m, err)} })
	var a answer
	select {
	case a = <-c:
	case <-ctx.Done():
		a.err = ctx.Err()
	}
	if errors.Is(a.err, errNoBucket) { // there is always somebody for the API, but for servers without JetStream
		a.err = jetstream.ErrJetStreamNotEnabled
	}
	if a.err != nil {
		return unavailable(a.err)
	}
	var failed struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(a.m.Data, &failed); err != nil {
		return unavailable(err)
	}
	if failed.Error != nil {
		return unavailable(apiError(failed.Error))
	}
	return json.Unmarshal(a.m.Data, to)
}

type revision struct {
	subject string
	rev     uint64
}

// revisions returns the revisions of records, the one written longest ago first.
func (b *kv) revisions(ctx context.Context, names []string) ([]revision, error) {
	body, err := json.Marshal(map[string]any{"multi_last": names})
	if err != nil {
		return nil, err
	}
	inbox := b.conn.NewInbox()
	sub, err := b.conn.SubscribeSync(inbox)
	if err != nil {
		return nil, unavailable(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := b.conn.PublishRequest(directGet, inbox, body); err != nil {
		return nil, unavailable(err)
	}
	var out []revision
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, unavailable(err)
		}
		rev, err := strconv.ParseUint(last(m.Header, "Nats-Sequence"), 10, 64)
		switch status := m.Header.Get("Status"); {
		case err == nil:
			out = append(out, revision{last(m.Header, "Nats-Subject"), rev})
		case status == "204" || status == "404":
			slices.SortFunc(out, func(a, b revision) int { return int(int64(a.rev) - int64(b.rev)) })
			return out, nil
		default:
			return nil, unavailable(fmt.Errorf("direct get: %s %s", status, m.Header.Get("Description")))
		}
	}
}
