package streams

import (
	"context"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	runLength  = 4096             // messages that a run is planned for
	runLeast   = 512              // fewer are not worth a consumer
	runDensity = 2                // one of so many sequences must be wanted
	runBytes   = 2 << 20          // of a run, about
	maxRuns    = 8                // kept for a stream
	runAge     = 10 * time.Second // after which one is not used any more
	runPause   = time.Second      // without new runs, after one that was hardly used
	maxEnds    = 256              // ends of pages remembered
	runBatch   = 256              // messages asked for at once
	runReaders = 2                // runs of all streams that are being read at once
)

// run is a stretch of the log that was read in one go, because a cursor wants most of it.
type run struct {
	from, to uint64 // inclusive, as planned
	made     time.Time
	ready    chan struct{} // closed when messages is set

	messages []*Message // ascending; what is missing may still be in the log
	used     int        // guarded by runs.mu
}

// runs are the runs of a stream. What they hold is used before the log is asked, and for nothing else.
type runs struct {
	mu   sync.Mutex
	list []*run            // the one used last at the end
	ends map[string]uint64 // channel or pattern to where a dense page of it ended with more to come
	off  time.Time         // no new ones before
}

// fill puts the messages of these sequences, where a run has them, at their places in dst unless they are taken, and returns how many it had.
func (x *runs) fill(dst []*Message, seqs []uint64) (hits int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := len(x.list) - 1; i >= 0; i-- {
		r := x.list[i]
		if r.messages == nil || r.to < seqs[0] || r.from > seqs[len(seqs)-1] {
			continue
		}
		k := sort.Search(len(r.messages), func(k int) bool { return r.messages[k].Seq >= seqs[0] })
		for j, seq := range seqs {
			for k < len(r.messages) && r.messages[k].Seq < seq {
				k++
			}
			if k < len(r.messages) && r.messages[k].Seq == seq && dst[j] == nil {
				dst[j] = r.messages[k]
				r.used++
				hits++
			}
		}
	}
	return hits
}

// ended takes note of where a dense page ended.
func (x *runs) ended(channel string, through uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ends == nil || len(x.ends) >= maxEnds {
		x.ends = map[string]uint64{}
	}
	x.ends[channel] = through
}

// due reports whether a page that begins after a position continues one that was dense, so that a run may pay.
func (x *runs) due(channel string, after uint64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ends[channel] == after && after > 0 && time.Now().After(x.off)
}

// next returns the first sequence from one on that no run holds, and the run in hand to wait for before that can be said.
func (x *runs) next(from uint64) (uint64, *run) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := 0; i < len(x.list); i++ {
		r := x.list[i]
		if from < r.from || from > r.to {
			continue
		}
		if r.messages == nil {
			return from, r
		}
		x.list = append(slices.Delete(x.list, i, i+1), r)
		from, i = r.to+1, -1
	}
	return from, nil
}

// begin adds a run to be read, unless another one has just begun there.
func (x *runs) begin(from, to uint64) *run {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range x.list {
		if r.from <= from && from <= r.to {
			return nil
		}
	}
	if len(x.list) >= maxRuns {
		x.removeLocked(0)
	}
	r := &run{from: from, to: to, made: time.Now(), ready: make(chan struct{})}
	x.list = append(x.list, r)
	return r
}

// end sets what a run has brought, which may be less than was planned.
func (x *runs) end(r *run, messages []*Message) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if n := len(messages); n > 0 {
		r.messages, r.to = messages, messages[n-1].Seq
	} else if i := slices.Index(x.list, r); i >= 0 {
		x.list = slices.Delete(x.list, i, i+1)
	}
	close(r.ready)
}

func (x *runs) removeLocked(i int) {
	if r := x.list[i]; 2*r.used < len(r.messages) {
		x.off = time.Now().Add(runPause)
	}
	x.list = slices.Delete(x.list, i, i+1)
}

// expire drops what is too old.
func (x *runs) expire() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := len(x.list) - 1; i >= 0; i-- {
		if time.Since(x.list[i].made) > runAge {
			x.removeLocked(i)
		}
	}
}

// clear drops everything.
func (x *runs) clear() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.list, x.ends = nil, nil
}

// dense reports whether most of the sequences between these are among them.
func dense(seqs []uint64) bool {
	n := len(seqs)
	return seqs[n-1]-seqs[0] < uint64(runDensity*n)
}

// runAhead sees to a run for a page that continues one, where the cursor wants most of what lies ahead; ahead gives the sequences that it
// wants from one on.
func (p *pager) runAhead(ctx context.Context, seqs []uint64, ahead func(from uint64) []uint64) {
	if p.r.Newest || p.r.Since > 0 || len(seqs) < pageReads || !dense(seqs) {
		return
	}
	p.crowded = true
	x := &p.g.runs
	if !x.due(p.r.Channel, p.r.After) {
		return
	}
	for {
		from, busy := x.next(seqs[0])
		if from > seqs[len(seqs)-1] {
			return
		}
		if busy == nil {
			want := ahead(from)
			if len(want) < runLeast || !dense(want) || p.readRun(ctx, want[0], want[len(want)-1]) < pageReads {
				return
			}
			continue // large messages end a run before the page's end
		}
		select {
		case <-busy.ready:
		case <-ctx.Done():
			return
		}
	}
}

// readRun reads a run and returns how many messages it has. Where that fails, or too many are being read, the messages are read one by one.
func (p *pager) readRun(ctx context.Context, from, to uint64) int {
	rd := p.s.log.rd
	select {
	case rd.scanning <- struct{}{}:
		defer func() { <-rd.scanning }()
	default:
		return 0
	}
	r := p.g.runs.begin(from, to)
	if r == nil {
		return 0
	}
	var messages []*Message
	defer func() { p.g.runs.end(r, messages) }()
	bytes := int64(0)
	err := p.s.scan(ctx, scanning{from: from, to: to + 1, batch: runBatch, purpose: "Jetwire catch-up"}, func(m *nats.Msg, at place) bool {
		sender, id := identity(m.Header)
		message := &Message{Channel: m.Subject, Seq: at.sseq, Prev: at.sseq - 1, Time: at.time, ID: id, From: sender, Body: m.Data}
		messages = append(messages, message)
		bytes += cost(message)
		return bytes < runBytes
	})
	rd.runs.Add(uint64(len(messages)))
	if err != nil {
		p.s.log.opts.Logger.Debug("a run was not read to its end", "stream", p.s.name, "error", err)
	}
	return len(messages)
}
