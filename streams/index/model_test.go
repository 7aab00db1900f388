package index

import (
	"flag"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Every run tries the same programs, so that none fails by chance; -rapid.seed=0 tries others.
func init() { _ = flag.Set("rapid.seed", "1") }

// message is one message that the log held at some time.
type message struct {
	seq  uint64
	t    int64
	gone bool // it has left the log
	seen bool // it was within the index's reach when it left
}

// model is a log, and an index of it without any encoding. It takes the floor from the real index after each step, and
// checks that it moved for a reason.
type model struct {
	x       *Index
	names   []string
	log     map[string][]message // all that was ever stored, ascending
	known   map[string][]uint64  // what the index was told and should not have forgotten
	head    uint64
	first   uint64 // as the index was told
	floor   uint64
	born    uint64
	max     int64
	bounded bool
	clock   int64
	pending *Window // finished, not prepended yet
	window  map[string][]uint64
	from    uint64
}

func newModel(t *rapid.T) *model {
	budget := rapid.SampledFrom([]int64{0, 0, 1500, 4000}).Draw(t, "budget")
	m := &model{x: New(budget), bounded: budget > 0, log: map[string][]message{}, known: map[string][]uint64{}, first: 1, floor: 1, born: 1}
	m.x.bits = rapid.SampledFrom([]uint{0, 2, 5, 12}).Draw(t, "bits")
	m.x.stretch = rapid.SampledFrom([]uint32{1, 3, matchChannels}).Draw(t, "stretch")
	for i := range rapid.IntRange(1, 12).Draw(t, "channels") {
		m.names = append(m.names, fmt.Sprintf("chat.%0*d", 1+17*i, i))
	}
	return m
}

func (m *model) channel(t *rapid.T) string { return rapid.SampledFrom(m.names).Draw(t, "channel") }

func (m *model) time(t *rapid.T) int64 {
	m.clock += int64(rapid.IntRange(0, 10).Draw(t, "step")) * 1e9
	return m.clock - int64(rapid.SampledFrom([]int{0, 0, 3, 50}).Draw(t, "back"))*1e9
}

// before gives the highest sequence of a channel in the log below seq among those that ok accepts.
func (m *model) before(channel string, seq uint64, ok func(message) bool) uint64 {
	es := m.log[channel]
	for i := len(es) - 1; i >= 0; i-- {
		if es[i].seq < seq && ok(es[i]) {
			return es[i].seq
		}
	}
	return 0
}

// leave marks messages of the log as gone.
func (m *model) leave(channel string, ok func(i int, e message) bool) {
	es := m.log[channel]
	for i := range es {
		if !es[i].gone && ok(i, es[i]) {
			es[i].gone = true
			es[i].seen = slices.Contains(m.known[channel], es[i].seq) && es[i].seq >= m.floor
		}
	}
}

// limit does in the log what MaxMsgsPerSubject does, and the same in what is known.
func (m *model) limit(channel string) {
	if m.max == 0 {
		return
	}
	var live []uint64
	for _, e := range m.log[channel] {
		if !e.gone {
			live = append(live, e.seq)
		}
	}
	if k := len(live) - int(m.max); k > 0 {
		m.leave(channel, func(_ int, e message) bool { return e.seq <= live[k-1] })
	}
	if k := len(m.known[channel]) - int(m.max); k > 0 {
		m.known[channel] = m.known[channel][k:]
	}
}

func (m *model) append(t *rapid.T) {
	for range rapid.SampledFrom([]int{1, 1, 3, 40, 150}).Draw(t, "count") {
		c := m.channel(t)
		m.head += rapid.SampledFrom([]uint64{1, 1, 1, 2, 100, 70_000}).Draw(t, "gap")
		at := m.time(t)
		m.log[c] = append(m.log[c], message{seq: m.head, t: at, gone: m.head < m.first})
		prev := m.x.Append(c, m.head, at)
		m.checkPrev(t, c, m.head, prev)
		if m.head >= m.first {
			m.known[c] = append(m.known[c], m.head)
		}
		m.limit(c)
		m.sync(t)
	}
}

// sync takes over a floor that the budget has raised.
func (m *model) sync(t *rapid.T) {
	floor := m.x.Floor()
	if floor != m.floor && (!m.bounded || floor < m.floor || floor > m.head) {
		t.Fatalf("floor went from %d to %d, head %d", m.floor, floor, m.head)
	}
	if floor != m.floor {
		m.floor = floor
		m.forget()
	}
	if _, bytes := m.x.Stats(); m.bounded && m.x.bits == 0 && len(m.x.buckets) > 1 && bytes > m.x.budget {
		t.Fatalf("%d bytes with a budget of %d", bytes, m.x.budget)
	}
}

// forget drops what is known below the floor and the log's first sequence, and what is known to have left below the floor.
func (m *model) forget() {
	for c, es := range m.log {
		for i := range es {
			m.log[c][i].seen = es[i].seen && es[i].seq >= m.floor
		}
	}
	for c, es := range m.known {
		m.known[c] = slices.DeleteFunc(es, func(s uint64) bool { return s < max(m.floor, m.first) })
	}
}

func (m *model) trim(t *rapid.T) {
	m.first = max(m.first, rapid.Uint64Range(m.first, min(m.head+3, m.first+(m.head+3-min(m.first, m.head))/2)).Draw(t, "first"))
	for c := range m.log {
		m.leave(c, func(_ int, e message) bool { return e.seq < m.first })
	}
	m.x.Trim(m.first)
	m.forget()
}

func (m *model) setMax(t *rapid.T) {
	m.max = int64(rapid.SampledFrom([]int{0, 1, 2, 5, 60, 200}).Draw(t, "max"))
	m.x.SetMaxPerChannel(m.max)
	for c := range m.log {
		m.limit(c)
	}
}

func (m *model) remove(t *rapid.T) {
	c := m.channel(t)
	if len(m.known[c]) == 0 {
		return
	}
	seq := rapid.SampledFrom(m.known[c]).Draw(t, "seq")
	m.leave(c, func(_ int, e message) bool { return e.seq == seq })
	m.x.Remove(c, seq)
	m.known[c] = slices.DeleteFunc(m.known[c], func(s uint64) bool { return s == seq })
	for id := 0; id < 2; id++ {
		m.x.Remove(c, m.head+1+uint64(id)) // unknown: nothing happens
	}
}

func (m *model) reset(t *rapid.T) {
	m.floor, m.born, m.first = m.head+1, m.head+1, 1
	m.known, m.pending = map[string][]uint64{}, nil
	m.x.Reset(m.floor)
	for c, es := range m.log { // Reset forgets what was dropped
		for i := range es {
			m.log[c][i].seen = false
		}
	}
}

// scan builds the next older window from what the log holds now.
func (m *model) scan(t *rapid.T) {
	if m.floor <= m.first {
		return
	}
	m.from = max(m.first, m.floor-min(m.floor-1, rapid.SampledFrom([]uint64{1, 5, 50, 2000, 1 << 40}).Draw(t, "size")))
	m.pending, m.window = NewWindow(m.from, m.floor), map[string][]uint64{}
	type entry struct {
		message
		channel string
	}
	var all []entry
	for c, es := range m.log {
		for _, e := range es {
			if !e.gone && e.seq >= m.from && e.seq < m.floor {
				all = append(all, entry{e, c})
				m.window[c] = append(m.window[c], e.seq)
			}
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return int(int64(a.seq) - int64(b.seq)) })
	for _, e := range all {
		m.pending.Add(e.channel, e.seq, e.t)
	}
}

func (m *model) prepend(t *rapid.T) {
	if m.pending == nil {
		return
	}
	w, old := m.pending, m.floor
	m.pending = nil
	m.x.Prepend(w)
	floor := m.x.Floor()
	switch {
	case w.to != old:
		if floor != old {
			t.Fatalf("a window to %d moved the floor from %d to %d", w.to, old, floor)
		}
		return
	case floor != m.from && !m.bounded || floor < m.from:
		t.Fatalf("floor %d after prepending from %d", floor, m.from)
	}
	m.floor = floor
	for c, es := range m.window {
		m.known[c] = append(slices.Clone(es), m.known[c]...)
		m.limit(c)
	}
	m.forget()
}

func (m *model) checkPrev(t *rapid.T, channel string, seq, prev uint64) {
	all := func(message) bool { return true }
	visible := func(e message) bool { return !e.gone && slices.Contains(m.known[channel], e.seq) }
	low := max(m.floor, m.first)
	if seq > 0 && prev >= seq {
		t.Fatalf("Prev(%s, %d) = %d", channel, seq, prev)
	}
	if live := m.before(channel, seq, func(e message) bool { return !e.gone }); prev < live {
		t.Fatalf("Prev(%s, %d) = %d but %d is there", channel, seq, prev, live)
	}
	if lost := m.before(channel, seq, func(e message) bool { return e.seen && e.seq >= low }); prev < lost && lost == m.before(channel, ^uint64(0), func(e message) bool { return e.seen }) {
		t.Fatalf("Prev(%s, %d) = %d but %d was there", channel, seq, prev, lost)
	}
	exact := prev == m.before(channel, prev+1, all)
	switch known := m.before(channel, seq, visible); {
	case known != 0:
		if !exact || prev < known {
			t.Fatalf("Prev(%s, %d) = %d, want %d or one that left later", channel, seq, prev, known)
		}
	case exact && prev != 0:
	case m.floor > m.first:
		if seq > 0 && prev != min(m.floor, seq)-1 && m.x.Dropped(channel) < seq {
			t.Fatalf("Prev(%s, %d) = %d, want the bound below %d", channel, seq, prev, m.floor)
		}
	case prev != 0 && prev != seq-1:
		t.Fatalf("Prev(%s, %d) = %d of a complete index, want 0", channel, seq, prev)
	case prev != 0 && m.x.Dropped(channel) < seq && (m.max == 0 || m.born == 1 || len(m.known[channel]) < int(m.max)):
		t.Fatalf("Prev(%s, %d) = %d of a complete index, want 0", channel, seq, prev)
	}
}

func (m *model) check(t *rapid.T) {
	c := m.channel(t)
	if rapid.IntRange(0, 20).Draw(t, "unknown") == 0 {
		c = "chat.unknown"
	}
	after := rapid.Uint64Range(0, m.head+2).Draw(t, "after")
	until := rapid.SampledFrom([]uint64{m.head, ^uint64(0), after, after + 1, after + 200, after + 100_000}).Draw(t, "until")
	n := rapid.SampledFrom([]int{0, 1, 2, 50, 1000, 1 << 62}).Draw(t, "n")
	var want []uint64
	for _, s := range m.known[c] {
		if s > after && s <= until {
			want = append(want, s)
		}
	}
	if got := m.x.After([]uint64{7}, c, after, until, n)[1:]; !slices.Equal(got, want[:min(n, len(want))]) {
		t.Fatalf("After(%s, %d, %d, %d) = %v, want of %v", c, after, until, n, got, want)
	}
	slices.Reverse(want)
	if got := m.x.Before([]uint64{7}, c, after, until, n)[1:]; !slices.Equal(got, want[:min(n, len(want))]) {
		t.Fatalf("Before(%s, %d, %d, %d) = %v, want of %v", c, after, until, n, got, want)
	}
	m.checkPrev(t, c, after, m.x.Prev(c, after))
	for _, s := range m.known[c] {
		if s > after {
			m.checkPrev(t, c, s, m.x.Prev(c, s))
			break
		}
	}
	m.checkDropped(t, c)
	m.checkSeek(t, c)
}

func (m *model) checkDropped(t *rapid.T, c string) {
	got := m.x.Dropped(c)
	gone := m.before(c, ^uint64(0), func(e message) bool { return e.gone })
	must := m.before(c, ^uint64(0), func(e message) bool { return e.seen })
	if got > gone || got < must && must >= max(m.floor, m.first) {
		t.Fatalf("Dropped(%s) = %d, highest gone %d, while in reach %d", c, got, gone, must)
	}
	if got != 0 && !slices.ContainsFunc(m.log[c], func(e message) bool { return e.seq == got && e.gone }) {
		t.Fatalf("Dropped(%s) = %d, which is there", c, got)
	}
}

func (m *model) checkSeek(t *rapid.T, c string) {
	at := m.clock + int64(rapid.IntRange(-3000, 100).Draw(t, "since"))*1e9
	got := m.x.SeekTime(c, at)
	for _, e := range m.log[c] {
		if !e.gone && e.t >= at && e.seq < got {
			t.Fatalf("SeekTime(%s, %d) = %d but %d was stored at %d", c, at, got, e.seq, e.t)
		}
	}
	if m.floor <= m.first && got == 0 {
		t.Fatalf("SeekTime(%s, %d) does not know, though complete", c, at)
	}
}

// match looks for the first messages of several channels, while messages come and go.
func (m *model) match(t *rapid.T) {
	names := map[string]bool{}
	for range rapid.IntRange(1, 8).Draw(t, "names") {
		names[m.channel(t)] = true
	}
	after := rapid.Uint64Range(0, m.head).Draw(t, "after")
	until := rapid.SampledFrom([]uint64{m.head, m.head, after, min(after+200, m.head)}).Draw(t, "until")
	n := rapid.SampledFrom([]int{1, 2, 50, 1000, 1 << 62}).Draw(t, "n")
	before := map[uint64]string{} // what was in the log and to be found
	for c := range names {
		for _, e := range m.log[c] {
			if !e.gone && e.seq > after && e.seq <= until {
				before[e.seq] = c
			}
		}
	}
	full := uint64(0)
	for c := range names {
		if k := m.known[c]; m.max > 0 && len(k) >= int(m.max) && k[0] > after+1 {
			full = max(full, k[0]-1)
		}
	}
	left, moved := 3, false
	m.x.between = func() {
		if left--; left >= 0 && rapid.Bool().Draw(t, "meanwhile") {
			moved = true
			rapid.SampledFrom([]func(*rapid.T){m.append, m.trim, m.remove, m.setMax}).Draw(t, "what")(t)
		}
	}
	wasComplete := m.floor <= after+1
	got, ok := m.x.Match(func(name []byte) bool { return names[string(name)] }, after, until, n)
	m.x.between = nil
	if !moved {
		m.sync(t) // nothing can have moved
	}
	if complete := m.floor <= after+1 || m.floor <= m.first; ok != complete && (wasComplete || ok) {
		t.Fatalf("Match from %d on says %v, floor %d, first %d", after+1, ok, m.floor, m.first)
	}
	if !ok {
		return
	}
	if got.Through > until || len(got.Found) > n || len(got.Found) < n && got.Through != until {
		t.Fatalf("Match(%d, %d, %d) found %d, through %d", after, until, n, len(got.Found), got.Through)
	}
	found, last := map[uint64]bool{}, after
	for _, f := range got.Found {
		if f.Seq <= last || f.Seq > got.Through || before[f.Seq] == "" {
			t.Fatalf("Match found %d after %d, through %d, on %q", f.Seq, last, got.Through, before[f.Seq])
		}
		found[f.Seq], last = true, f.Seq
	}
	for c := range names {
		for _, e := range m.log[c] {
			switch {
			case e.seq <= after || e.seq > got.Through || found[e.seq] || e.seq < m.first:
			case !e.gone && !slices.Contains(m.known[c], e.seq) && e.seq <= got.Dropped: // limit let go of it: see the package comment
			case !e.gone:
				t.Fatalf("Match(%d, %d, %d) did not find %d", after, until, n, e.seq)
			case e.seq >= m.floor && e.seen && e.seq > got.Dropped:
				t.Fatalf("Match did not tell that %d has left, only %d", e.seq, got.Dropped)
			}
		}
	}
	if !moved && got.Full < full {
		t.Fatalf("Match says that full channels begin after %d, not %d", got.Full, full)
	}
	if len(got.Found) > 0 && rapid.Bool().Draw(t, "remove one") {
		f := rapid.SampledFrom(got.Found).Draw(t, "which")
		c := before[f.Seq]
		known := slices.Contains(m.known[c], f.Seq)
		m.x.RemoveFound(f)
		if known {
			m.leave(c, func(_ int, e message) bool { return e.seq == f.Seq })
			m.known[c] = slices.DeleteFunc(m.known[c], func(s uint64) bool { return s == f.Seq })
		}
	}
}

// checkBooks compares what the index counts with what it holds.
func (m *model) checkBooks(t *rapid.T) {
	x := m.x
	var used, fixed, entries int64
	for id := uint32(1); id <= x.channels.top; id++ {
		ch := x.channels.at(id)
		if ch.name == 0 {
			continue
		}
		used += int64(classSize[class(1+len(x.name(ch)))]) + int64(classSize[ch.open.class])
		n, last := uint64(ch.open.n), uint64(0)
		for _, b := range append(slices.Clone(x.older(ch)), ch.open) {
			if b.n > 0 && (b.first <= last || b.last < b.first || b.n == 1 && b.class != 0) {
				t.Fatalf("block %+v after %d", b, last)
			}
			last = b.last
		}
		for _, b := range x.older(ch) {
			used += int64(classSize[b.class])
			n += uint64(b.n)
		}
		if ch.long != 0 {
			fixed += blockSize * int64(cap(x.longs.at(ch.long).blocks))
		}
		if n != x.entries(ch) {
			t.Fatalf("%d entries, counted %d", n, x.entries(ch))
		}
		entries += int64(n)
	}
	for i := range x.tables {
		fixed += 8 * int64(len(x.tables[i].slots))
	}
	for _, b := range x.buckets {
		fixed += ticketBytes * int64(len(b.channels))
	}
	if used != x.arena.used || fixed != x.fixed {
		t.Fatalf("arena %d, counted %d; fixed %d, counted %d", used, x.arena.used, fixed, x.fixed)
	}
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"append": m.append, "append more": m.append, "trim": m.trim, "max": m.setMax, "remove": m.remove, "remove more": m.remove,
			"reset": m.reset, "scan": m.scan, "prepend": m.prepend, "match": m.match, "scan and prepend": func(t *rapid.T) { m.scan(t); m.prepend(t) },
			"": func(t *rapid.T) { m.check(t); m.checkBooks(t) },
		})
	})
}
