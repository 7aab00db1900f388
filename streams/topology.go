package streams

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
)

const (
	streamPrefix = "JW_"
	mark         = "jetwire"      // metadata key of the streams that are ours
	lifeMark     = "jetwire-life" // metadata key: when it was found that the stream had gone back
	// headerRoom is what a stream's message size limit leaves for headers.
	headerRoom = 4 << 10
)

// StreamOf returns the name of a namespace's stream.
func StreamOf(namespace string) string { return streamPrefix + namespace }

// filled returns the policy with its defaults in place of zeros.
func (p Policy) filled(o *Options) Policy {
	p.Replicas = max(p.Replicas, 1)
	if p.MaxMessageSize <= 0 {
		p.MaxMessageSize = o.MaxMessageSize
	}
	if p.DedupWindow <= 0 {
		p.DedupWindow = DefaultDedupWindow
	}
	if p.MaxAge > 0 {
		p.DedupWindow = min(p.DedupWindow, p.MaxAge) // JetStream's rule
	}
	p.MaxAge, p.MaxPerChannel = max(p.MaxAge, 0), max(p.MaxPerChannel, 0)
	p.MaxBytes, p.MaxMessages = max(p.MaxBytes, 0), max(p.MaxMessages, 0)
	return p
}

// limit writes "no limit" as JetStream does.
func limit(n int64) int64 {
	if n <= 0 {
		return -1
	}
	return n
}

// apply puts the policy into a stream's configuration and leaves alone what policies do not speak of.
func (p Policy) apply(c jetstream.StreamConfig) jetstream.StreamConfig {
	c.Name = StreamOf(p.Namespace)
	c.Subjects = []string{p.Namespace + ".>"}
	c.Retention = jetstream.LimitsPolicy
	c.Discard = jetstream.DiscardOld
	c.DiscardNewPerSubject = false
	c.Storage = jetstream.FileStorage
	if p.Storage == Memory {
		c.Storage = jetstream.MemoryStorage
	}
	c.Replicas = p.Replicas
	c.MaxAge = p.MaxAge
	c.MaxMsgsPerSubject = limit(p.MaxPerChannel)
	c.MaxBytes = limit(p.MaxBytes)
	c.MaxMsgs = limit(p.MaxMessages)
	c.MaxMsgSize = int32(min(p.MaxMessageSize+headerRoom, 1<<31-1))
	c.Duplicates = p.DedupWindow
	c.AllowDirect = true
	c.AllowAtomicPublish = c.AllowAtomicPublish || p.wantsBatches()
	c.Metadata = maps.Clone(c.Metadata)
	if c.Metadata == nil {
		c.Metadata = map[string]string{}
	}
	c.Metadata[mark] = "1"
	return c
}

// differs reports whether the two configurations differ in anything that apply sets.
func differs(a, b jetstream.StreamConfig) bool {
	return !slices.Equal(a.Subjects, b.Subjects) || a.Retention != b.Retention || a.Discard != b.Discard ||
		a.DiscardNewPerSubject != b.DiscardNewPerSubject || a.Storage != b.Storage || a.Replicas != b.Replicas || a.MaxAge != b.MaxAge ||
		limit(a.MaxMsgsPerSubject) != limit(b.MaxMsgsPerSubject) || limit(a.MaxBytes) != limit(b.MaxBytes) || limit(a.MaxMsgs) != limit(b.MaxMsgs) ||
		a.MaxMsgSize != b.MaxMsgSize || a.Duplicates != b.Duplicates || a.AllowDirect != b.AllowDirect || a.AllowAtomicPublish != b.AllowAtomicPublish
}

// shrinks names the limits that would delete messages if a became b.
func shrinks(a, b jetstream.StreamConfig) (what []string) {
	smaller := func(name string, was, is int64) {
		if is > 0 && (was <= 0 || is < was) {
			what = append(what, fmt.Sprintf("%s from %s to %d", name, unlimited(was), is))
		}
	}
	if b.MaxAge > 0 && (a.MaxAge <= 0 || b.MaxAge < a.MaxAge) {
		was := "no limit"
		if a.MaxAge > 0 {
			was = a.MaxAge.String()
		}
		what = append(what, fmt.Sprintf("maximum age from %s to %s", was, b.MaxAge))
	}
	smaller("messages per channel", a.MaxMsgsPerSubject, b.MaxMsgsPerSubject)
	smaller("bytes", a.MaxBytes, b.MaxBytes)
	smaller("messages", a.MaxMsgs, b.MaxMsgs)
	return what
}

func unlimited(n int64) string {
	if n <= 0 {
		return "no limit"
	}
	return fmt.Sprint(n)
}

// ErrRefused wraps what Open and With answer when a stream cannot be made what the policy says without losing data.
var ErrRefused = errors.New("refused")

// ensure makes the policy's stream, or makes it what the policy says, and returns its state.
func ensure(ctx context.Context, js jetstream.JetStream, p Policy, allowShrink bool) (*jetstream.StreamInfo, error) {
	name := StreamOf(p.Namespace)
	st, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		st, err = js.CreateStream(ctx, p.apply(jetstream.StreamConfig{Description: "Jetwire namespace " + p.Namespace}))
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another gateway was faster
			st, err = js.Stream(ctx, name)
		}
	}
	if err != nil {
		return nil, streamError(name, err)
	}
	info := st.CachedInfo()
	if info.Config.Metadata[mark] == "" {
		return nil, fmt.Errorf("%w: stream %s exists but is not Jetwire's (no metadata %q); rename it, or give it that mark: nats stream edit %s --metadata %s=1",
			ErrRefused, name, mark, name, mark)
	}
	if p.unlisted {
		p.Storage = storageOf(info.Config)
	}
	want := p.apply(info.Config)
	if !differs(info.Config, want) {
		return info, nil
	}
	if info.Config.Storage != want.Storage {
		return nil, fmt.Errorf("%w: stream %s keeps its messages in %s storage, the configuration says %s, and storage cannot be changed; "+
			"change the configuration back, or delete the stream with all its messages", ErrRefused, name, info.Config.Storage, want.Storage)
	}
	if what := shrinks(info.Config, want); len(what) > 0 && !allowShrink {
		return nil, fmt.Errorf("%w: stream %s: the configuration lowers %s, which deletes messages; change it back, or allow it with --allow-shrink",
			ErrRefused, name, strings.Join(what, ", "))
	}
	if st, err = js.UpdateStream(ctx, want); err != nil {
		return nil, streamError(name, err)
	}
	return st.CachedInfo(), nil
}

// renew gives a stream whose sequences went back (its server came back with an older or an empty store) another epoch,
// since they will be given out again: a position from before must not be taken for one of now.
func renew(ctx context.Context, js jetstream.JetStream, c jetstream.StreamConfig) (*jetstream.StreamInfo, error) {
	c.Metadata = maps.Clone(c.Metadata)
	if c.Metadata == nil {
		c.Metadata = map[string]string{}
	}
	c.Metadata[lifeMark] = strconv.FormatInt(time.Now().UnixNano(), 36)
	st, err := js.UpdateStream(ctx, c)
	if err != nil {
		return nil, streamError(c.Name, err)
	}
	return st.CachedInfo(), nil
}

// streamError says which stream an error is about, and wraps ErrUnavailable where trying again may help.
func streamError(name string, err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		if refused := refused(api); errors.Is(refused, ErrStoreFull) {
			return fmt.Errorf("stream %s: %w", name, refused)
		}
		if api.Code < 500 {
			return fmt.Errorf("stream %s: %w", name, err)
		}
	}
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) {
		return fmt.Errorf("%w: stream %s: JetStream does not answer: %w", ErrUnavailable, name, err)
	}
	return fmt.Errorf("%w: stream %s: %w", ErrUnavailable, name, err)
}

func storageOf(c jetstream.StreamConfig) Storage {
	if c.Storage == jetstream.MemoryStorage {
		return Memory
	}
	return File
}

// streamInfo asks for a stream's state, and for how many messages it holds on one subject, in one request.
func (c *conn) streamInfo(ctx context.Context, name, subject string) (*jetstream.StreamInfo, error) {
	request, err := json.Marshal(map[string]string{"subjects_filter": subject})
	if err != nil {
		return nil, err
	}
	m, err := c.RequestWithContext(ctx, "$JS.API.STREAM.INFO."+name, request)
	if err != nil {
		return nil, streamError(name, err)
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
		jetstream.StreamInfo
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return nil, streamError(name, err)
	}
	if answer.Error != nil {
		return nil, streamError(name, answer.Error)
	}
	return &answer.StreamInfo, nil
}

// effective is the policy that a stream's configuration amounts to.
func effective(p Policy, c jetstream.StreamConfig) Policy {
	p.Storage = storageOf(c)
	p.Replicas, p.MaxAge = c.Replicas, c.MaxAge
	p.MaxPerChannel, p.MaxBytes, p.MaxMessages = max(c.MaxMsgsPerSubject, 0), max(c.MaxBytes, 0), max(c.MaxMsgs, 0)
	p.DedupWindow = c.Duplicates
	p.batches = p.wantsBatches() && c.AllowAtomicPublish // which older servers do not know
	return p
}

// unlistedStreams returns the namespaces of the account's streams with our prefix that are not listed.
func unlistedStreams(ctx context.Context, js jetstream.JetStream, listed map[string]Policy) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	names := js.StreamNames(ctx)
	var out []string
	for name := range names.Name() {
		ns, ours := strings.CutPrefix(name, streamPrefix)
		if _, ok := listed[ns]; ours && !ok {
			out = append(out, ns)
		}
	}
	if err := names.Err(); err != nil {
		return nil, fmt.Errorf("%w: listing streams: %w", ErrUnavailable, err)
	}
	return out, nil
}

func minWindow(a, b time.Duration) time.Duration {
	if a <= 0 || b < a {
		return b
	}
	return a
}
