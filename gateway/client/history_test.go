package client

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jetwire/jetwire/gateway/wire"
)

func TestHistoryAll(t *testing.T) {
	connected(t, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var got []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			for m, err := range c.HistoryAll(t.Context(), HistoryRequest{Channel: "a.b", Since: 3, Limit: 2}) {
				var lost *LostError
				switch {
				case errors.As(err, &lost):
					got = append(got, fmt.Sprintf("lost %d-%d", lost.From, lost.To))
				case err != nil:
					got = append(got, err.Error())
				default:
					got = append(got, string(m.Body))
				}
			}
		}()
		cmd := pc.expect(wire.OpHistory)
		if cmd.History != (wire.History{Channel: "a.b", Since: 3, Limit: 2}) {
			t.Errorf("asked for %+v", cmd.History)
		}
		page := `{"id":%d,"history":{"channel":"a.b","epoch":"e1","messages":[{"channel":"a.b","seq":6,"data":"x"},{"channel":"a.b","seq":7,"data":"y"}],"next":"n1","lost":{"from":4,"to":5}}}`
		pc.send(page, cmd.ID)
		cmd = pc.expect(wire.OpHistory)
		if cmd.History != (wire.History{Channel: "a.b", Cursor: "n1", Limit: 2}) {
			t.Errorf("asked for %+v", cmd.History)
		}
		pc.refuse(cmd, wire.Unavailable) // later
		pc.expect(wire.OpHistory)
		pc.cut() // and on another connection
		pc = p.welcome()
		cmd = pc.expect(wire.OpHistory)
		pc.send(`{"id":%d,"history":{"channel":"a.b","epoch":"e1","messages":[{"channel":"a.b","seq":8,"data":"z"}],"next":"n2"}}`, cmd.ID)
		pc.refuse(pc.expect(wire.OpHistory), wire.WrongEpoch)
		<-done
		if want := `[lost 4-5 "x" "y" "z" wrong_epoch: scripted]`; fmt.Sprint(got) != want {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// The pages of "last N" lead back; what is yielded leads forward.
func TestHistoryAllLast(t *testing.T) {
	connected(t, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		go func() {
			cmd := pc.expect(wire.OpHistory)
			pc.send(`{"id":%d,"history":{"channel":"a.b","epoch":"e1","messages":[{"channel":"a.b","seq":8,"data":8},{"channel":"a.b","seq":9,"data":9}],"next":"n1"}}`, cmd.ID)
			cmd = pc.expect(wire.OpHistory)
			pc.send(`{"id":%d,"history":{"channel":"a.b","epoch":"e1","messages":[{"channel":"a.b","seq":6,"data":6},{"channel":"a.b","seq":7,"data":7}]}}`, cmd.ID)
		}()
		var got []uint64
		for m, err := range c.HistoryAll(t.Context(), HistoryRequest{Channel: "a.b", Last: 4}) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, m.Seq); len(got) == 3 {
				break
			}
		}
		if fmt.Sprint(got) != "[6 7 8]" {
			t.Error(got)
		}
	})
}

// A page is the caller's: it does not change with what the connection reads next.
func TestHistoryPageIsCopied(t *testing.T) {
	connected(t, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		got := make(chan HistoryPage, 1)
		go func() {
			page, err := c.History(t.Context(), HistoryRequest{Channel: "a.b", Last: 1})
			if err != nil {
				t.Error(err)
			}
			got <- page
		}()
		cmd := pc.expect(wire.OpHistory)
		pc.send(`{"id":%d,"history":{"channel":"a.b","epoch":"e1","messages":[{"channel":"a.b","seq":6,"data":"first"}]}}`, cmd.ID)
		page := <-got
		pc.send(`{"message":{"channel":"z.z","seq":6,"data":"%0100d"}}`, 1)
		pc.quiet()
		if b := string(page.Messages[0].Body); b != `"first"` || page.Next != "" || page.Lost != nil {
			t.Errorf("%+v, body %s", page, b)
		}
		if _, err := c.History(t.Context(), HistoryRequest{Channel: "bad"}); err == nil {
			t.Error("a bad channel is accepted")
		}
	})
}
