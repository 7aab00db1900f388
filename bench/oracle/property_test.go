package oracle

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func judge(ops []op) *Verdict {
	o := New(Options{})
	tell(o, ops)
	return o.Judge()
}

func TestACorrectHistoryGivesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := correct(t)
		v := judge(h.ops)
		if !v.OK() || len(v.Violations) != 0 {
			t.Fatalf("%v", v.Violations)
		}
	})
}

// choose draws one of the positions in ops that ok accepts; the case is skipped if there is none.
func choose(t *rapid.T, ops []op, ok func(int, *op) bool) int {
	var at []int
	for i := range ops {
		if ok(i, &ops[i]) {
			at = append(at, i)
		}
	}
	if len(at) == 0 {
		t.Skip("nothing to break")
	}
	return rapid.SampledFrom(at).Draw(t, "fault")
}

// follows finds the next delivery to the same reader.
func follows(ops []op, i int) int {
	for j := i + 1; j < len(ops); j++ {
		if ops[j].kind == opDeliver && ops[j].channel == ops[i].channel && ops[j].reader == ops[i].reader {
			return j
		}
	}
	return -1
}

// known reports whether somebody but the delivery at i tells of the message.
func known(ops []op, i int) bool {
	for j := range ops {
		p := &ops[j]
		same := p.channel == ops[i].channel && j != i
		if same && (p.kind == opAck && p.ack.Seq == ops[i].d.Seq || p.kind == opDeliver && p.d.Seq == ops[i].d.Seq) {
			return true
		}
	}
	return false
}

func deliveries(_ int, p *op) bool { return p.kind == opDeliver }

// faults are the ways to break a history. Each returns what the oracle must name, and nothing else.
var faults = map[string]func(t *rapid.T, ops []op) ([]op, []Violation){
	"lost": func(t *rapid.T, ops []op) ([]op, []Violation) {
		i := choose(t, ops, func(i int, p *op) bool {
			return p.kind == opDeliver && known(ops, i) && (follows(ops, i) > 0 || !leaves(ops, p))
		})
		want := of(Lost, &ops[i])
		return slices.Delete(ops, i, i+1), []Violation{want}
	},
	"duplicated": func(t *rapid.T, ops []op) ([]op, []Violation) {
		i := choose(t, ops, deliveries)
		j := i
		for range rapid.IntRange(0, 3).Draw(t, "later") {
			if n := follows(ops, j); n > 0 {
				j = n
			}
		}
		return slices.Insert(ops, j+1, ops[i]), []Violation{of(Duplicated, &ops[i])}
	},
	"reordered": func(t *rapid.T, ops []op) ([]op, []Violation) {
		i := choose(t, ops, func(i int, p *op) bool { return p.kind == opDeliver && follows(ops, i) > 0 })
		j := follows(ops, i)
		want := of(Reordered, &ops[i])
		return slices.Delete(slices.Insert(ops, j+1, ops[i]), i, i+1), []Violation{want}
	},
	"invented": func(t *rapid.T, ops []op) ([]op, []Violation) {
		i := choose(t, ops, deliveries)
		ghost := ops[i]
		ghost.d.Seq--
		ghost.d.Prev = ghost.d.Seq - 1
		ghost.d.ID = "ghost"
		return slices.Insert(ops, at(ops, i, &ghost), ghost), []Violation{of(Invented, &ghost)}
	},
	"stored though refused": func(t *rapid.T, ops []op) ([]op, []Violation) {
		i := choose(t, ops, func(i int, p *op) bool {
			return p.kind == opAck && tries(ops, p) == 1 && delivered(ops, p)
		})
		ops[i].kind = opRefuse
		p := ops[i]
		return ops, []Violation{{Kind: Invented, Channel: p.channel, Seq: p.ack.Seq, From: p.from, ID: p.id}}
	},
	"stored twice": func(t *rapid.T, ops []op) ([]op, []Violation) {
		i := choose(t, ops, deliveries)
		var out []op
		first := ops[i].d
		for _, p := range ops { // every reader gets it again, one sequence later
			if p.channel == ops[i].channel && p.to != 0 {
				p.to++ // it may be the last
			}
			out = append(out, p)
			if p.kind == opDeliver && p.channel == ops[i].channel && p.d.Seq == first.Seq {
				p.d.Prev, p.d.Seq = p.d.Seq, p.d.Seq+1
				if isBack(ops, p.reader) {
					out = slices.Insert(out, len(out)-1, p)
				} else {
					out = append(out, p)
				}
			}
		}
		return out, nil // named once; by whom it is noticed first, and which of both is the second, is not said here
	},
	"altered": func(t *rapid.T, ops []op) ([]op, []Violation) {
		i := choose(t, ops, deliveries)
		d := &ops[i].d
		d.Body = slices.Clone(d.Body)
		d.Body[rapid.IntRange(0, len(d.Body)-1).Draw(t, "byte")] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		return ops, []Violation{of(Altered, &ops[i])}
	},
	"body of another": func(t *rapid.T, ops []op) ([]op, []Violation) {
		i := choose(t, ops, deliveries)
		j := choose(t, ops, func(_ int, p *op) bool { return p.kind == opDeliver && p.d.ID != ops[i].d.ID })
		ops[i].d.Body = ops[j].d.Body
		return ops, []Violation{of(Altered, &ops[i])}
	},
	"wrong prev": func(t *rapid.T, ops []op) ([]op, []Violation) {
		i := choose(t, ops, func(i int, p *op) bool {
			j := follows(ops, i)
			return p.kind == opDeliver && j > 0 && !isBack(ops, p.reader)
		})
		j := follows(ops, i)
		ops[j].d.Prev = ops[i].d.Seq - 1
		return ops, []Violation{of(Misplaced, &ops[j])}
	},
	"another first sequence": func(t *rapid.T, ops []op) ([]op, []Violation) {
		i := choose(t, ops, func(_ int, p *op) bool { return p.kind == opAck && p.ack.Duplicate })
		p := &ops[i]
		p.ack.Seq++
		return ops, []Violation{{Kind: Misanswered, Channel: p.channel, Seq: p.ack.Seq, From: p.from, ID: p.id}}
	},
	"not called duplicate": func(t *rapid.T, ops []op) ([]op, []Violation) {
		i := choose(t, ops, func(_ int, p *op) bool { return p.kind == opAck && p.ack.Duplicate })
		ops[i].ack.Duplicate = false
		p := ops[i]
		return ops, []Violation{{Kind: Misanswered, Channel: p.channel, Seq: p.ack.Seq, From: p.from, ID: p.id}}
	},
	"another epoch": func(t *rapid.T, ops []op) ([]op, []Violation) {
		first := choose(t, ops, func(_ int, p *op) bool { return p.kind == opAck })
		i := choose(t, ops, func(i int, p *op) bool {
			return p.kind == opAck && i > first && p.channel == ops[first].channel && p.ack.Duplicate
		})
		ops[i].ack.Epoch = "f"
		return ops, []Violation{{Kind: Misplaced, Channel: ops[i].channel}}
	},
}

func of(k Kind, p *op) Violation {
	return Violation{Kind: k, Channel: p.channel, Seq: p.d.Seq, From: p.d.From, ID: p.d.ID, Reader: p.reader}
}

func isBack(ops []op, reader string) bool { return reader == "back" }

// at is where in ops a delivery that is not there yet has its place, beside the one at i.
func at(ops []op, i int, d *op) int {
	if isBack(ops, d.reader) {
		return i + 1
	}
	return i
}

func leaves(ops []op, of *op) bool {
	return slices.ContainsFunc(ops, func(p op) bool { return p.kind == opLeave && p.channel == of.channel && p.reader == of.reader })
}

func tries(ops []op, of *op) (n int) {
	for i := range ops {
		if p := &ops[i]; p.kind == opPublish && p.channel == of.channel && p.id == of.id {
			n++
		}
	}
	return n
}

func delivered(ops []op, of *op) bool {
	return slices.ContainsFunc(ops, func(p op) bool { return p.kind == opDeliver && p.channel == of.channel && p.d.ID == of.id })
}

func TestEachFaultIsNamed(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				ops, want := fault(t, slices.Clone(correct(t).ops))
				v := judge(ops)
				if want == nil {
					if v.Duplicated != 1 || v.Counts.Violations() != 1 {
						t.Fatalf("%v", v.Violations)
					}
					return
				}
				got := slices.Clone(v.Violations)
				for i := range got {
					got[i].What = ""
				}
				if !slices.Equal(got, want) || *v.of(want[0].Kind) != 1 || v.Counts.Violations() != 1 {
					t.Fatalf("got  %v\nwant %v", v.Violations, want)
				}
			})
		})
	}
}

// An answer that names the place of another message: both of them are named, and nothing but answers.
func TestTwoMessagesWithOneSequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ops := slices.Clone(correct(t).ops)
		i := choose(t, ops, func(_ int, p *op) bool { return p.kind == opAck && tries(ops, p) == 1 && delivered(ops, p) })
		j := choose(t, ops, func(j int, p *op) bool {
			return p.kind == opAck && p.channel == ops[i].channel && p.ack.Seq < ops[i].ack.Seq && delivered(ops, p)
		})
		ops[i].ack.Seq = ops[j].ack.Seq
		v := judge(ops)
		if v.Misanswered == 0 || v.Counts.Violations() != v.Misanswered {
			t.Fatalf("%v", v.Violations)
		}
	})
}
