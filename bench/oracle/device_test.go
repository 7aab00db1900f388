package oracle

import "testing"

// devised is a channel with messages at 1, 3, 5, 7 and 9, and a device.
func devised(t *testing.T) (*Oracle, *Reader, func(seqs ...uint64)) {
	t.Helper()
	o := New(Options{})
	all := o.Subscriber("all", "c", 0)
	bring := func(r *Reader, seq uint64) {
		id := string(rune('a' + seq))
		r.Message(Delivery{Seq: seq, Prev: seq - min(seq, 2), From: "p", ID: id, Body: AppendBody(nil, "c", "p", id, 0, JSON)})
	}
	for seq := uint64(1); seq < 10; seq += 2 {
		o.Publishing("c", "p", string(rune('a'+seq))).Acknowledged(Ack{Seq: seq})
		bring(all, seq)
	}
	d := o.Device("d", "c", 0)
	return o, d, func(seqs ...uint64) {
		for _, seq := range seqs {
			bring(d, seq)
		}
	}
}

func TestDevice(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(d *Reader, get func(...uint64))
		want Counts
	}{
		"all at once":     {func(d *Reader, get func(...uint64)) { get(1, 3, 5, 7, 9) }, Counts{}},
		"some come again": {func(d *Reader, get func(...uint64)) { get(1, 3, 5); d.Acked(1); d.Run(1, 1); get(3, 5, 7, 9) }, Counts{}},
		"all come again":  {func(d *Reader, get func(...uint64)) { get(1, 3, 5, 7, 9); d.Run(0, 0); get(1, 3, 5, 7, 9) }, Counts{}},
		"runs are short": {func(d *Reader, get func(...uint64)) {
			get(1, 3, 5)
			d.Run(0, 0)
			get(1)
			d.Run(0, 0)
			get(1, 3, 5, 7, 9)
		}, Counts{}},
		"acknowledged":     {func(d *Reader, get func(...uint64)) { get(1, 3, 5); d.Acked(3); d.Run(1, 3); get(3, 5, 7, 9) }, Counts{Duplicated: 1}},
		"floor of the run": {func(d *Reader, get func(...uint64)) { get(1, 3); d.Acked(3); d.Run(1, 1); get(3, 5, 7, 9) }, Counts{}},
		"twice in a run":   {func(d *Reader, get func(...uint64)) { get(1, 3, 3, 5, 7, 9) }, Counts{Reordered: 1}},
		"twice in a rerun": {func(d *Reader, get func(...uint64)) { get(1, 3, 5); d.Run(0, 0); get(1, 3, 1, 5, 7, 9) }, Counts{Reordered: 1}},
		"a hole":           {func(d *Reader, get func(...uint64)) { get(1, 5, 7, 9) }, Counts{Lost: 1}},
		"a hole in a rerun": {
			func(d *Reader, get func(...uint64)) { get(1, 3, 5, 7); d.Run(1, 1); get(3, 7, 9) }, Counts{Lost: 1},
		},
		"a rerun begins late":      {func(d *Reader, get func(...uint64)) { get(1, 3); d.Run(1, 1); get(5, 7, 9) }, Counts{Lost: 1}},
		"a rerun leaves new out":   {func(d *Reader, get func(...uint64)) { get(1, 3); d.Run(1, 1); get(3, 7, 9) }, Counts{Lost: 1}},
		"a hole is filled later":   {func(d *Reader, get func(...uint64)) { get(1, 5); d.Run(1, 1); get(3, 5, 7, 9) }, Counts{Reordered: 1}},
		"it begins behind the end": {func(d *Reader, get func(...uint64)) { get(1); d.Run(5, 1); get(7, 9) }, Counts{Lost: 2}},
		"never":                    {func(d *Reader, get func(...uint64)) { get(1, 3, 5) }, Counts{Lost: 2}},
	} {
		o, d, get := devised(t)
		test.do(d, get)
		v := o.Judge()
		if v.Lost != test.want.Lost || v.Duplicated != test.want.Duplicated || v.Reordered != test.want.Reordered || v.Counts.Violations() != test.want.Violations() {
			t.Errorf("%s: %+v", name, v)
		}
	}
}
