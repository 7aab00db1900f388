package oracle

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Kind is a way to break the promise.
type Kind string

// The kinds.
const (
	Lost        Kind = "lost"        // a reader passed, or never reached, a message that it covers
	Duplicated  Kind = "duplicated"  // a reader got a sequence again, or the log has a message at two sequences
	Reordered   Kind = "reordered"   // a reader got a message behind a later one, or the log has it before an earlier one
	Invented    Kind = "invented"    // nobody published it, or its publisher was told that it was not stored
	Altered     Kind = "altered"     // the body is not what was published
	Misplaced   Kind = "misplaced"   // what came with a message contradicts the log: its sequence, prev or epoch
	Misanswered Kind = "misanswered" // a publisher was told something that contradicts the log or an earlier answer
)

// Violation is one broken promise.
type Violation struct {
	Kind    Kind   `json:"kind"`
	Channel string `json:"channel"`
	Seq     uint64 `json:"seq"`              // of the message; 0: none is known
	From    string `json:"from,omitempty"`   // who published it
	ID      string `json:"id,omitempty"`     // the publisher's id
	Reader  string `json:"reader,omitempty"` // who got it or did not; empty: the log itself, or an answer to the publisher
	What    string `json:"what"`             // what happened and what was expected
}

// String names the violation in one line.
func (v Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", v.Kind, v.Channel)
	if v.Seq != 0 {
		fmt.Fprintf(&b, " seq %d", v.Seq)
	}
	if v.ID != "" {
		fmt.Fprintf(&b, ", id %s of %s", v.ID, v.From)
	}
	if v.Reader != "" {
		fmt.Fprintf(&b, ", reader %s", v.Reader)
	}
	return b.String() + ": " + v.What
}

// Counts is how often each kind was found, and of what. A message that three readers lost counts three times.
type Counts struct {
	Lost        uint64 `json:"lost"`
	Duplicated  uint64 `json:"duplicated"`
	Reordered   uint64 `json:"reordered"`
	Invented    uint64 `json:"invented"`
	Altered     uint64 `json:"altered"`
	Misplaced   uint64 `json:"misplaced"`
	Misanswered uint64 `json:"misanswered"`

	Published    uint64 `json:"published"`    // messages
	Attempts     uint64 `json:"attempts"`     // to publish them
	Acknowledged uint64 `json:"acknowledged"` // attempts …
	Duplicates   uint64 `json:"duplicates"`   // … of these, answered duplicate
	Refused      uint64 `json:"refused"`      // attempts
	Unknown      uint64 `json:"unknown"`      // attempts without an answer
	Delivered    uint64 `json:"delivered"`    // messages, over all readers
	Gaps         uint64 `json:"gaps"`         // that readers were told
	Excused      uint64 `json:"excused"`      // messages not delivered because a gap had named them
	Forgotten    uint64 `json:"forgotten"`    // messages that a reader from the beginning is no longer judged by
}

// Violations is the number of broken promises.
func (c *Counts) Violations() uint64 {
	return c.Lost + c.Duplicated + c.Reordered + c.Invented + c.Altered + c.Misplaced + c.Misanswered
}

func (c *Counts) of(k Kind) *uint64 {
	switch k {
	case Lost:
		return &c.Lost
	case Duplicated:
		return &c.Duplicated
	case Reordered:
		return &c.Reordered
	case Invented:
		return &c.Invented
	case Altered:
		return &c.Altered
	case Misplaced:
		return &c.Misplaced
	default:
		return &c.Misanswered
	}
}

// Verdict is what Judge found.
type Verdict struct {
	Counts
	Violations []Violation `json:"violations,omitempty"` // the first Options.List of what happened, and of what is missing
}

// OK says that no promise was broken.
func (v *Verdict) OK() bool { return v.Counts.Violations() == 0 }

func (v *Verdict) add(x Violation) {
	*v.of(x.Kind)++
	v.Violations = append(v.Violations, x)
}

func (v *Verdict) sort(most int) {
	slices.SortStableFunc(v.Violations, func(a, b Violation) int {
		return cmp.Or(strings.Compare(a.Channel, b.Channel), cmp.Compare(a.Seq, b.Seq), strings.Compare(a.Reader, b.Reader))
	})
	if len(v.Violations) > most {
		v.Violations = v.Violations[:most:most]
	}
}

// tally counts what was found so far.
type tally struct {
	most int

	mu     sync.Mutex
	counts Counts
	listed []Violation
}

func (t *tally) name(v Violation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*t.counts.of(v.Kind)++
	if len(t.listed) < t.most {
		t.listed = append(t.listed, v)
	}
}

func (t *tally) count(f func(*Counts)) {
	t.mu.Lock()
	f(&t.counts)
	t.mu.Unlock()
}

func (t *tally) verdict() *Verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	return &Verdict{Counts: t.counts, Violations: slices.Clone(t.listed)}
}
