// Package oracle judges whether a messaging system kept its promise: it is told what each publisher was answered and what each
// subscriber's application got, and names every message that was lost, duplicated, reordered, invented or altered.
//
// The promise, for channels that are totally ordered by a sequence:
//   - An acknowledged message reaches each reader that covers its position, once, in the order of the sequence.
//   - So does a message that any reader got: it is in the log, whatever its publisher was told.
//   - A message of unknown outcome is in the log once or not at all. One that was refused is not.
//   - An id is stored once. Each further acknowledgement of it says duplicate, and the first sequence.
//   - What was published when a later sequence was known already comes behind that sequence.
//   - `prev` has no message of the channel between itself and the message that carries it.
//   - Bodies arrive as AppendBody made them, and nothing arrives that nobody published.
//
// The oracle has no clock, no randomness and no input or output, and it may be told from any goroutine. A delivery may be told before the
// acknowledgement of its message and the other way round; what one reader got must be told in its order. Its memory is bounded in a long
// run: of what every reader has passed it remembers the last Options.Remember messages of each channel, and of a reader only where it is
// and what it missed.
//
// It must not know the protocol, sockets or servers.
package oracle

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
)

// The defaults of Options.
const (
	DefaultRemember = 200_000
	DefaultList     = 100
)

// Options of an Oracle. The zero value works.
type Options struct {
	// Retention says that the log may drop messages. Then a gap excuses what it names; otherwise it excuses nothing.
	Retention bool
	Remember  int // messages of each channel, once every reader has passed them; DefaultRemember
	List      int // violations that the verdict lists; DefaultList. All are counted
}

// Oracle is what was told so far.
type Oracle struct {
	o     Options
	tally tally

	mu   sync.Mutex // taken before a log's, which is taken before the tally's
	logs map[string]*channelLog
}

// New makes an oracle that was told nothing.
func New(o Options) *Oracle {
	if o.Remember <= 0 {
		o.Remember = DefaultRemember
	}
	if o.List <= 0 {
		o.List = DefaultList
	}
	return &Oracle{o: o, tally: tally{most: o.List}, logs: make(map[string]*channelLog)}
}

func (o *Oracle) log(channel string) *channelLog {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.logs[channel]
	if l == nil {
		l = &channelLog{o: o, name: channel, messages: make(map[key]*message), readers: make(map[*Reader]struct{})}
		o.logs[channel] = l
	}
	return l
}

func (o *Oracle) sortedLogs() []*channelLog {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.SortedFunc(maps.Values(o.logs), func(a, b *channelLog) int { return strings.Compare(a.name, b.name) })
}

// Top is the highest sequence of a channel that was acknowledged or delivered; 0 if there is none.
func (o *Oracle) Top(channel string) uint64 {
	l := o.log(channel)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.top
}

// Lag is a reader that has not come to the end of what is known of its channel.
type Lag struct {
	Reader, Channel string
	At, Top         uint64
}

// Behind lists the readers that are still to get something. When publishers are done, an empty list means that Judge need not wait.
func (o *Oracle) Behind() []Lag {
	var lags []Lag
	for _, l := range o.sortedLogs() {
		l.mu.Lock()
		last := uint64(0)
		for _, e := range slices.Backward(l.entries) {
			if e.required {
				last = e.seq
				break
			}
		}
		for r := range l.readers {
			if r.open() && r.pos < last {
				lags = append(lags, Lag{r.name, l.name, r.pos, last})
			}
		}
		l.mu.Unlock()
	}
	slices.SortFunc(lags, func(a, b Lag) int {
		return cmp.Or(strings.Compare(a.Reader, b.Reader), strings.Compare(a.Channel, b.Channel))
	})
	return lags
}

// Judge says what was found. What a reader has not got by now is lost, so it comes last: when publishing has ended and each reader had its time.
func (o *Oracle) Judge() *Verdict {
	logs := o.sortedLogs()
	v := o.tally.verdict()
	for _, l := range logs {
		l.judge(v)
	}
	v.sort(o.o.List)
	return v
}
