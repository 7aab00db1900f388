package streams

import (
	"context"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jetwire/jetwire/streams/tap"
)

const (
	runLength  = 4096             // messages that a run is planned for
	runLeast   = 512              // fewer are not worth a consumer
	runDensity = 2                // one of so many sequences must be wanted
	runBytes   = 2 << 20          // of a run, about
	maxRuns    = 8                // of cursors that read densely, kept for a stream; see also maxBlocksBytes
	runAge     = 10 * time.Second // after which one is not used any more
	runPause   = time.Second      // without new runs, after one that was hardly used or could not be read
	maxEnds    = 256              // ends of pages remembered
	runReaders = 2                // runs of all streams that are being read at once
)

// run is a stretch of the log that was read in one go, because a cursor wants most of it, or many cursors together do: then it is a block.
type run struct {
	from, to uint64 // inclusive, as planned
	block    bool
	made     time.Time
	ready    chan struct{} // closed when messages is set

	// Guarded by runs.mu.
	messages []*Message // ascending; what is missing may still be in the log
	bytes    int64      // about; of one that is being read as many as it may have
	used     int        // messages given out
	last     time.Time  // when the last one was
}

// runs are the runs of a stream. What they hold is used before the log is asked, and for nothing else.
type runs struct {
	held *atomic.Int64 // bytes of the blocks of all streams; fixed

	mu     sync.Mutex
	list   []*run
	ends   map[string]uint64 // channel or pattern to where a dense page of it ended with more to come
	off    time.Time         // no new ones before
	demand demand
	over   bool // the stream was made anew: no more blocks
}

// fill puts the messages of these sequences, where a run has them, at their places in dst unless they are taken, and returns how many it had.
func (x *runs) fill(dst []*Message, seqs []uint64) (hits int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.list) == 0 {
		return 0
	}
	now := time.Now()
	for _, r := range x.list {
		first, _ := slices.BinarySearch(seqs, r.from)
		n := 0
		for j := first; j < len(seqs) && seqs[j] <= r.to; j++ {
			if dst[j] == nil {
				if dst[j] = r.get(seqs[j]); dst[j] != nil {
					n++
				}
			}
		}
		if n > 0 {
			hits, r.used, r.last = hits+n, r.used+n, now
		}
	}
	return hits
}

// get returns one message, or nil. The caller must hold runs.mu.
func (r *run) get(seq uint64) *Message {
	i := int(seq - r.from)
	if i >= len(r.messages) || r.messages[i].Seq != seq { // something is missing before it
		i = sort.Search(len(r.messages), func(i int) bool { return r.messages[i].Seq >= seq })
	}
	if i == len(r.messages) || r.messages[i].Seq != seq {
		return nil
	}
	return r.messages[i]
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
	return x.nextLocked(from)
}

func (x *runs) nextLocked(from uint64) (uint64, *run) {
	for i := 0; i < len(x.list); i++ {
		r := x.list[i]
		if from < r.from || from > r.to {
			continue
		}
		if r.messages == nil {
			return from, r
		}
		from, i = r.to+1, -1
	}
	return from, nil
}

// begin adds a run to be read, unless another one has just begun there.
func (x *runs) begin(from, to uint64) *run {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, busy := x.nextLocked(from); busy != nil {
		return nil
	}
	kept := 0
	for _, r := range x.list {
		if !r.block {
			kept++
		}
	}
	if kept >= maxRuns {
		x.dropOldestLocked(false)
	}
	return x.addLocked(&run{from: from, to: to})
}

func (x *runs) addLocked(r *run) *run {
	now := time.Now()
	r.made, r.last, r.bytes, r.ready = now, now, runBytes, make(chan struct{})
	x.list = append(x.list, r)
	return r
}

// end sets what a run has brought, which may be less than was planned.
func (x *runs) end(r *run, messages []*Message, bytes int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	defer close(r.ready)
	i := slices.Index(x.list, r)
	if i < 0 {
		return // dropped
	}
	if r.block {
		x.held.Add(bytes - r.bytes)
	}
	r.bytes = bytes
	if n := len(messages); n > 0 {
		r.messages, r.to = messages, messages[n-1].Seq
	} else {
		x.removeLocked(i)
	}
}

// pause keeps new runs away for a while.
func (x *runs) pause() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.off = time.Now().Add(runPause)
}

// retireLocked drops a run whose time is over.
func (x *runs) retireLocked(i int) {
	if r := x.list[i]; 2*r.used < len(r.messages) {
		x.off = time.Now().Add(runPause)
	}
	x.removeLocked(i)
}

func (x *runs) removeLocked(i int) {
	if r := x.list[i]; r.block {
		x.held.Add(-r.bytes)
	}
	x.list = slices.Delete(x.list, i, i+1)
}

// dropOldestLocked drops the run, of blocks or of the others, that has not been used for the longest time, and reports whether there was one.
func (x *runs) dropOldestLocked(block bool) bool {
	oldest := -1
	for i, r := range x.list {
		if r.block == block && r.messages != nil && (oldest < 0 || r.last.Before(x.list[oldest].last)) {
			oldest = i
		}
	}
	if oldest < 0 {
		return false
	}
	x.retireLocked(oldest)
	return true
}

// expire drops what is too old, or of no use any more.
func (x *runs) expire() {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Now()
	for i := len(x.list) - 1; i >= 0; i-- {
		if r := x.list[i]; now.Sub(r.made) > runAge || r.block && r.messages != nil && now.Sub(r.last) > blockIdle {
			x.retireLocked(i)
		}
	}
}

// forget drops what may hold a message that was deleted.
func (x *runs) forget(seq uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := len(x.list) - 1; i >= 0; i-- {
		if r := x.list[i]; r.from <= seq && seq <= r.to {
			x.removeLocked(i)
		}
	}
}

// clear drops everything.
func (x *runs) clear() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.clearLocked()
}

// finish drops everything for good.
func (x *runs) finish() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over = true
	x.clearLocked()
}

func (x *runs) clearLocked() {
	for _, r := range x.list {
		if r.block {
			x.held.Add(-r.bytes)
		}
	}
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
			if len(want) < runLeast || !dense(want) {
				return
			}
			if r := x.begin(want[0], want[len(want)-1]); r == nil || p.readRun(ctx, r) < pageReads {
				return
			}
			continue // large messages end a run before the page's end
		}
		if !busy.wait(ctx) {
			return
		}
	}
}

// wait waits until a run has been read; false: ctx has ended.
func (r *run) wait(ctx context.Context) bool {
	select {
	case <-r.ready:
		return true
	case <-ctx.Done():
		return false
	}
}

// readRun reads a run and returns how many messages it has. Where that fails, or too many are being read, the messages are read one by one. Blocks wait
// for their turn: they are wanted by many, who would ask for more than there is in them meanwhile.
func (p *pager) readRun(ctx context.Context, r *run) int {
	rd := p.s.log.rd
	var messages []*Message
	bytes := int64(0)
	defer func() { p.g.runs.end(r, messages, bytes) }()
	select {
	case rd.scanning <- struct{}{}:
	default:
		if !r.block {
			return 0
		}
		select {
		case rd.scanning <- struct{}{}:
		case <-ctx.Done():
			return 0
		}
	}
	defer func() { <-rd.scanning }()
	var memory arena
	err := p.s.scan(ctx, scanning{from: r.from, to: r.to + 1, batch: runLength, bytes: runBytes, purpose: "Jetwire catch-up", each: func(m *tap.Message, at place) bool {
		message := memory.message(m.Subject, m.Header, m.Body)
		message.Seq, message.Prev, message.Time = at.sseq, at.sseq-1, at.time
		messages = append(messages, message)
		bytes += cost(message)
		return bytes < runBytes
	}})
	rd.runs.Add(uint64(len(messages)))
	if len(messages) == 0 {
		p.g.runs.pause()
	}
	if err != nil {
		p.s.log.opts.Logger.Debug("a run was not read to its end", "stream", p.s.name, "error", err)
	}
	return len(messages)
}
