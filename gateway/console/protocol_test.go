package console_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
)

// protocolTest runs in the page: the protocol's script with a socket that the test writes to.
const protocolTest = `(async () => {
  const { Link, split, parse } = await import("/protocol.js");
  const sent = [], seen = [];
  class Socket {
    static OPEN = 1;
    constructor(url, protocol) { this.readyState = 1; this.protocol = protocol; setTimeout(() => this.onopen()); }
    send(text) { sent.push(text); }
    close() { this.readyState = 3; }
  }
  globalThis.WebSocket = Socket;
  const step = () => new Promise((r) => setTimeout(r));
  const link = new Link("ws://x/ws", "t", {
    state: (s) => seen.push(s),
    message: (c, m) => seen.push(m.seq ?? "live"),
    gap: (g) => seen.push("gap " + g.from + "-" + (g.to ?? "")),
    subscribed: (c, r) => seen.push("subscribed " + r.seq),
    refused: (c, e) => seen.push("refused " + e.code),
    error: (e) => seen.push(e.code),
  });
  const get = (frame) => link.ws.onmessage({ data: frame });
  const message = (seq, prev) => '{"message":{"channel":"c.d","seq":' + seq + ',"prev":' + prev + ',"data":"}{"}}';
  await step();
  get('{"id":1,"connect":{"session":"s","user":"alice","ping":25}}');
  await step();
  link.subscribe("c.d");
  get('{"id":2,"subscribe":{"channel":"c.d","epoch":"e","seq":5,"qos":1}}' + message(6, 4) + '\n' + message(7, 6));
  get(message(7, 6) + message(6, 4)); // again: dropped
  get('{"message":{"channel":"c.d","data":1}}{"weather":{}}');
  get(message(9, 8)); // 8 is missing: asked for
  get(message(10, 9)); // not before it came
  get('{"id":3,"unsubscribe":{"channel":"c.d"}}');
  await step();
  get('{"id":4,"subscribe":{"channel":"c.d","epoch":"e","seq":10,"qos":1}}' + message(9, 8)); // the log has no more
  get('{"gap":{"channel":"c.d","epoch":"f","from":0,"reason":"epoch"}}' + message(1, 0)); // a new life
  get('{"error":{"code":"timeout","message":"x"}}');
  link.publish("c.d", '{"n":12345678901234567890}', 1).catch(() => {});
  link.publish("c.d", "it's", 0).catch(() => {});
  link.history({ channel: "c.d" }).catch((e) => seen.push(e.message));
  get('{"id":7,"error":{"code":"rate_limited","message":"slower","retry_after":1.234}}');
  await step();
  link.close();
  return JSON.stringify({ seen, sent, split: [...split(' {"a":"}{\\"\\\\"}{"b":[{}]}\n{"c":1}')], number: JSON.stringify(parse("[1.0,12345678901234567890,2]")) });
})()`

func TestProtocolScript(t *testing.T) {
	s := newSite(t)
	b := newTab(t, "http://"+s.addr+"/", 800, 600)
	b.do(chromedp.WaitVisible(chromedp.CSS("#token")))
	out, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](protocolTest, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Seen        []any
		Sent, Split []string
		Number      string
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if want := "[connecting connected subscribed 5 6 7 live subscribed 10 gap 8-8 9 gap 0- 1 timeout rate_limited: slower (again in 1.3 s) closed]"; fmt.Sprint(got.Seen) != want {
		t.Errorf("seen\n%v\nwant\n%s", got.Seen, want)
	}
	want := []string{
		`{"id":1,"connect":{"token":"t","client":"jetwire-page/1"}}`,
		`{"id":2,"subscribe":{"channel":"c.d"}}`,
		`{"id":3,"unsubscribe":{"channel":"c.d"}}`,
		`{"id":4,"subscribe":{"channel":"c.d","since":7,"epoch":"e"}}`,
		`{"id":5,"publish":{"channel":"c.d","qos":1,"data":{"n":12345678901234567890}}}`,
		`{"id":6,"publish":{"channel":"c.d","qos":0,"encoding":"text","data":"it's"}}`,
		`{"id":7,"history":{"channel":"c.d"}}`,
	}
	if d := cmp.Diff(want, got.Sent); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{`{"a":"}{\"\\"}`, `{"b":[{}]}`, `{"c":1}`}, got.Split); d != "" {
		t.Error(d)
	}
	if got.Number != "[1.0,12345678901234567890,2]" {
		t.Error(got.Number)
	}
	b.noFaults()
}
