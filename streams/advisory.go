package streams

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/nats-io/nats.go"
)

// JetStream tells of every call to its API. From that the index learns at once what was deleted or purged and which stream was made
// anew. It only makes things faster: what is not told here is found by polling, or when a message is read.
const auditSubject = "$JS.EVENT.ADVISORY.API"

func (l *Log) watchAdvisories() error {
	_, err := l.feed.subscribe(auditSubject, l.onAdvisory)
	return err
}

// audit is what an advisory tells of one call.
type audit struct {
	Subject  string `json:"subject"`
	Request  string `json:"request"`
	Response string `json:"response"`
}

var apiCalls = [][]byte{
	[]byte("$JS.API.STREAM.PURGE."), []byte("$JS.API.STREAM.MSG.DELETE."),
	[]byte("$JS.API.STREAM.DELETE."), []byte("$JS.API.STREAM.CREATE."), []byte("$JS.API.STREAM.UPDATE."),
}

func (l *Log) onAdvisory(m *nats.Msg) {
	for _, call := range apiCalls {
		if bytes.Contains(m.Data, call) {
			var a audit
			if json.Unmarshal(m.Data, &a) == nil {
				l.apply(&a)
			}
			return
		}
	}
}

// apply lets the stream that an API call was about know of it.
func (l *Log) apply(a *audit) {
	call, name, ok := cutLast(a.Subject)
	ns, ours := strings.CutPrefix(name, streamPrefix)
	if !ok || !ours {
		return
	}
	sp := (*l.spaces.Load())[ns]
	if sp == nil {
		return
	}
	s := sp.opened.Load()
	if s == nil {
		return
	}
	g := s.gen.Load()
	switch {
	case strings.HasSuffix(call, ".MSG.DELETE"):
		g.shaky.Store(true)
		var r struct {
			Seq uint64 `json:"seq"`
		}
		var answer struct {
			Success bool `json:"success"`
		}
		if json.Unmarshal([]byte(a.Request), &r) != nil || json.Unmarshal([]byte(a.Response), &answer) != nil {
			g.runs.clear()
			return
		}
		if answer.Success {
			g.runs.forget(r.Seq)
			if m := g.ring.get(r.Seq); m != nil {
				g.ring.forget(r.Seq)
				g.index.Remove(m.Channel, r.Seq)
			}
		}
	case strings.HasSuffix(call, ".PURGE") && strings.Contains(a.Request, `"filter"`):
		// What it has spared, or what came after it, cannot be told here: the index finds out message by message.
		g.ring.clear()
		g.runs.clear()
	default:
		s.suspect(nil)
	}
}

func cutLast(subject string) (before, last string, ok bool) {
	i := strings.LastIndexByte(subject, '.')
	if i < 0 {
		return "", "", false
	}
	return subject[:i], subject[i+1:], true
}
