package streams

import (
	"context"
	"math"
	"time"
)

// Of thousands of cursors on channels of their own each wants one message in hundreds, and all together they may want most of the log. So it is counted
// what is asked for of each block of the log, and a block that many ask for is read as a run, from which the others are served.
const (
	blockLength    = 4096
	blockLeast     = 256         // messages asked for one by one after which a block is read, which costs as much as some 1,000
	blockPages     = 32          // pages that must have asked for them: a few cursors want only their share
	blockIdle      = time.Second // without use after which one is dropped
	maxBlocksBytes = 64 << 20    // of the blocks of all streams
	demandFor      = time.Second // after which counts begin anew
	maxDemand      = 4096        // blocks that are counted; if so many are asked for, none will be asked for often
)

// demand is what was lately asked for one by one, by the numbers of blocks.
type demand struct {
	blocks map[uint64]asked
	since  time.Time
}

type asked struct{ messages, pages int }

func (a asked) enough() bool { return a.messages >= blockLeast && a.pages >= blockPages }

// add counts what a page lacks, and reports whether that is in a block for which many ask.
func (d *demand) add(have []*Message, seqs []uint64) (popular bool) {
	if now := time.Now(); d.blocks == nil || len(d.blocks) >= maxDemand || now.Sub(d.since) > demandFor {
		d.blocks, d.since = map[uint64]asked{}, now
	}
	before := uint64(math.MaxUint64)
	for i, seq := range seqs {
		if have[i] != nil {
			continue
		}
		number := seq / blockLength
		a := d.blocks[number]
		a.messages++
		if number != before {
			a.pages, before = a.pages+1, number
		}
		d.blocks[number] = a
		popular = popular || a.enough()
	}
	return popular
}

// want counts what a page lacks, and reports whether that is in a block for which many ask.
func (x *runs) want(have []*Message, seqs []uint64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.demand.add(have, seqs)
}

// beginBlock adds the run of the first block that many ask for and that is lacking here, or else returns one in hand to wait for. Where a block is more
// than one run may hold, it adds what comes next.
func (x *runs) beginBlock(have []*Message, seqs []uint64, head uint64) (mine, busy *run) {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Now()
	for i, seq := range seqs {
		number := seq / blockLength
		if have[i] != nil || !x.demand.blocks[number].enough() {
			continue
		}
		from, other := x.nextLocked(max(number*blockLength, 1))
		switch {
		case from > seq:
		case other != nil:
			busy = other
		case !x.over && !now.Before(x.off) && x.reserveLocked():
			return x.addLocked(&run{from: from, to: min(number*blockLength+blockLength-1, head), block: true}), nil
		}
	}
	return nil, busy
}

// reserveLocked makes room for a block.
func (x *runs) reserveLocked() bool {
	for x.held.Add(runBytes) > maxBlocksBytes {
		x.held.Add(-runBytes)
		if !x.dropOldestLocked(true) {
			return false
		}
	}
	return true
}

// fromRuns takes from runs what they have, and sees to blocks that many ask for.
func (p *pager) fromRuns(ctx context.Context, have []*Message, seqs []uint64) {
	x := &p.g.runs
	if x.fill(have, seqs); p.crowded || !x.want(have, seqs) {
		return
	}
	for {
		mine, busy := x.beginBlock(have, seqs, p.g.head.Load())
		switch {
		case mine != nil:
			if p.readRun(ctx, mine) == 0 {
				return
			}
		case busy == nil || !busy.wait(ctx):
			return
		}
		x.fill(have, seqs)
	}
}
