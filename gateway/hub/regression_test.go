package hub

import (
	"testing"

	"github.com/jetwire/jetwire/streams"
)

// Programs that the model test found, each the shortest it came to.
func TestCounterexamples(t *testing.T) {
	for name, p := range map[string]program{
		// A page ends behind its last message; the first message of the next one said prev = that end, which the client has not
		// reached: it took that for a loss.
		"prev beyond the client's position": {Page: 1, Steps: []step{{"store", 0, 5}, {"store", 1, 0}, {"subscribe", 0, 0}}},
		// The stream was made anew, a worker moved the cursor to the new epoch, and Reset moved it once more: messages came twice.
		"a page of the new epoch before Reset": {SlowMS: 20, Page: 1, Steps: []step{
			{"store", 0, 3}, {"tail", 0, 9}, {"deliver", 0, 0}, {"subscribe", 0, 31}, {"anew", 0, 3}, {"sleep", 0, 40}, {"reset", 0, 0},
		}},
		"subscribed before Reset":  {Page: 1, Steps: []step{{"store", 0, 0}, {"subscribe", 1, 0}, {"anew", 0, 0}, {"subscribe", 0, 1}}},
		"at the head before Reset": {Page: 1, Steps: []step{{"subscribe", 0, 0}, {"anew", 0, 3}, {"subscribe", 0, 1}, {"reset", 0, 0}}},
		"waits for Reset, no spin": {Page: 1, Steps: []step{{"store", 0, 9}, {"subscribe", 0, 28}, {"tail", 0, 9}, {"deliver", 0, 0}, {"anew", 0, 0}, {"sleep", 0, 40}}},
		// The position was of another epoch, and the front of the present one had left the log: only the first gap was told, and
		// the message behind the second one did not fit it.
		"another epoch, its front lost": {Page: 1, Steps: []step{{"store", 2, 21}, {"trim", 2, 31}, {"subscribe", 2, 13}}},
		// A page names one range that is lost, from its beginning to the last message that was deleted: the gap named messages that
		// are there, and the client dropped them.
		"a deletion behind messages": {Page: 1, Steps: []step{{"store", 1, 6}, {"subscribe", 1, 0}, {"remove", 1, 0}}},
		"a deletion, all in one page": {Page: 6, Steps: []step{
			{"store", 1, 5}, {"tail", 1, 9}, {"deliver", 1, 0}, {"remove", 1, 2}, {"subscribe", 1, 44},
		}},
		"acknowledgements, subscribed before Reset": {SlowMS: 1, Page: 1, Steps: []step{{"anew", 2, 1}, {"acked", 11, 0}}},
		"more than a page, nothing new":             {Page: 1, Steps: []step{{"store", 0, 9}, {"tail", 0, 9}, {"deliver", 0, 0}, {"subscribe", 0, 47}}},
	} {
		t.Run(name, func(t *testing.T) {
			p.Workers = 1
			if err := p.run(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// Who subscribes to a pattern does not send those behind who are live on it.
func TestSubscribingLeavesOthersLive(t *testing.T) {
	h := testHub(t)
	l := &fixedLog{epoch: always("e"), head: 4}
	first, second := &recorder{room: 9}, &recorder{room: 9}
	h.Subscribe(Request{Channel: "a.*", Log: l, Sink: first}, nothing)
	h.Deliver([]*streams.Message{{Channel: "a.x", Seq: 5}})
	l.head = 9 // other channels
	h.Subscribe(Request{Channel: "a.*", Log: l, Sink: second}, nothing)
	h.Deliver([]*streams.Message{{Channel: "a.y", Seq: 10}})
	if st := h.Stats(); st.Holes != 0 || len(first.seqs()) != 2 || len(second.seqs()) != 1 {
		t.Errorf("%+v %v %v", st, first.seqs(), second.seqs())
	}
}
