package console_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"github.com/jetwire/jetwire/gateway/auth"
)

// rooms is true when the page shows these channels, with so many messages that were not looked at, in the order of their names.
func rooms(want ...string) string {
	return fmt.Sprintf(`JSON.stringify([...document.querySelectorAll("#channels button")].map(
		e => e.firstChild.textContent + (e.lastChild.hidden ? "" : e.lastChild.textContent)).sort()) === JSON.stringify(%s)`, list(want))
}

// A device has its subscriptions again in another tab, with the past, what was missed, and what was not looked at, joined without a seam.
func TestPageAsADevice(t *testing.T) {
	s := newSite(t)
	var all []string
	for i := range 70 {
		all = append(all, fmt.Sprint(i))
	}
	s.publish("chat.lobby", all[:60]...)
	alice := token(t, auth.Grant{User: "alice"})
	b := newTab(t, "http://"+s.addr+"/", 1100, 700)
	b.connectDevice(alice, "desk")
	b.wait(connected)
	b.wait(`document.querySelector("#user").textContent === "alice · desk"`)
	b.wait(rooms("user.alice")) // the inbox is there by itself
	b.subscribe("chat.lobby")
	b.wait(bodies(all[10:60]...))
	b.subscribe("chat.*")
	b.wait(`document.querySelector("#publish").hidden && document.querySelector("#older").hidden`)
	s.publish("chat.lobby", all[60:63]...)
	s.publish("chat.hall", "in the hall")
	b.wait(bodies(all[60], all[61], all[62], "in the hall"))
	b.wait(`document.querySelector("#messages li:last-child .where").textContent === "chat.hall"`)
	b.wait(rooms("chat.*", "chat.lobby3", "user.alice"))
	b.picture("pattern")
	b.do(chromedp.Click(chromedp.CSS("#leave")))
	b.wait(`document.querySelector("#state").dataset.state === "closed"`)
	b.wait(`document.querySelector("#device").value === "desk"`)
	b.picture("start")

	s.publish("chat.lobby", all[63:]...)
	s.publish("chat.hall", "2")
	other := newTab(t, "http://"+s.addr+"/", 1100, 700)
	other.connectDevice(alice, "desk")
	// chat.lobby was not looked at since 59: these are new still. The pattern's were.
	other.wait(`document.querySelectorAll("#channels button").length === 3`)
	other.open("chat.*")
	other.wait(bodies(append(all[63:70:70], "2")...))
	other.open("chat.lobby")
	other.wait(bodies(all[10:]...))
	other.do(chromedp.Click(chromedp.CSS("#older")))
	other.wait(bodies(all...))
	other.picture("restored")

	// One page at a time: the newest.
	b.connectDevice(alice, "desk")
	b.wait(connected)
	other.wait(`document.querySelector("#notes").textContent.includes("taken")`)
	other.wait(`document.querySelector("#state").dataset.state === "closed"`)
	b.open("chat.lobby")
	b.wait(bodies(all[20:]...)) // what was shown there is the past here
	// Unsubscribed is forgotten, and a page that is loaded again is the same device.
	b.do(chromedp.Click(chromedp.CSS("#drop")))
	b.wait(rooms("chat.*", "user.alice"))
	b.do(chromedp.Reload())
	b.wait(connected)
	b.wait(rooms("chat.*", "user.alice"))
	b.noFaults()
	other.noFaults()
}

// durableTest runs in the page: the protocol's script in a durable session, with a socket that the test writes to.
const durableTest = `(async () => {
  const { Link } = await import("/protocol.js");
  const sent = [], seen = [];
  class Socket {
    static OPEN = 1;
    static CLOSED = 3;
    constructor() { this.readyState = 1; setTimeout(() => this.onopen()); }
    send(text) { sent.push(text); }
    close() { this.readyState = 3; }
  }
  globalThis.WebSocket = Socket;
  const until = async (done) => { while (!done()) await new Promise((r) => setTimeout(r, 5)); };
  const link = new Link("ws://x/ws", "t", {
    state: (s) => seen.push(s),
    message: (c, m) => seen.push(c + m.seq),
    gap: (g) => seen.push("gap " + g.from + "-" + (g.to ?? "")),
    subscribed: (c, r) => seen.push("subscribed " + r.seq),
    restored: (c, r) => seen.push("restored " + c + r.since),
    refused: (c, e) => seen.push("refused " + c + " " + e.code),
    error: (e) => seen.push(e.code),
  }, "desk");
  const get = (frame) => link.ws.onmessage({ data: frame });
  const message = (channel, seq, prev, pattern = "") => '{"message":{"channel":"' + channel + '"' + pattern + ',"seq":' + seq + ',"prev":' + prev + ',"data":1}}';
  const connect = async (n, ...restored) => {
    await until(() => sent.length === n);
    const id = JSON.parse(sent.at(-1)).id;
    get('{"id":' + id + ',"connect":{"session":"s","user":"u","ping":25,"durable":{"device":"desk","resumed":true,"restored":[' + restored.join() + '],"ack_wait":30,"max_unacked":256}}}'
      + message("a.b", 6, 5)); // right behind it
    await until(() => link.ready);
  };
  const held = (channel, epoch, since) => '{"channel":"' + channel + '","qos":1,"epoch":"' + epoch + '","since":' + since + '}';
  await connect(1, held("a.b", "e", 5), held("a.*", "e", 2));
  get(message("a.b", 6, 2, ',"pattern":"a.*"') + message("a.b", 7, 6));
  link.shown("a.b", 6);
  link.shown("a.b", 7);
  link.shown("a.b", 6);
  await until(() => sent.length === 2); // one ack of both
  get(message("a.b", 7, 6)); // sent again: the ack was lost
  await until(() => sent.length === 3);
  get(message("a.b", 9, 8)); // 8 is missing: nothing is unsubscribed, the connection is made anew
  seen.push("cut");
  await connect(4, held("a.b", "e", 5)); // the pattern is not there: it is asked for from what was shown
  get('{"id":3,"subscribe":{"channel":"a.*","epoch":"e","seq":9,"qos":1}}');
  link.shown("a.b", 7); // shown before: 7 is acknowledged when it comes again, not before
  get(message("a.b", 7, 6) + message("a.b", 8, 7) + message("a.b", 6, 2, ',"pattern":"a.*"'));
  await until(() => sent.length === 6);
  get('{"unsubscribed":{"channel":"a.*","code":"permission_denied","message":"no"}}');
  get('{"gap":{"channel":"a.b","epoch":"f","from":0,"reason":"epoch"}}{"gap":{"channel":"a.b","epoch":"f","from":0,"reason":"epoch"}}' + message("a.b", 1, 0));
  link.shown("a.b", 1);
  link.close(); // tells at once
  return JSON.stringify({ seen, sent });
})()`

func TestDurableScript(t *testing.T) {
	s := newSite(t)
	b := newTab(t, "http://"+s.addr+"/", 800, 600)
	b.do(chromedp.WaitVisible(chromedp.CSS("#token")))
	out, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](durableTest, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Seen, Sent []string }
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"connecting", "restored a.b5", "restored a.*2", "a.b6", "connected", "a.*6", "a.b7",
		"waiting", "cut", "connecting", "connected", "subscribed 9", "a.b8", "refused a.* permission_denied", "gap 0-", "a.b1", "closed",
	}
	if d := cmp.Diff(want, got.Seen); d != "" {
		t.Error(d)
	}
	connect := `"connect":{"token":"t","client":"jetwire-page/1","device":"desk"}}`
	want = []string{
		`{"id":1,` + connect,
		`{"ack":{"channel":"a.b","seq":7,"epoch":"e"}}`,
		`{"ack":{"channel":"a.b","seq":7,"epoch":"e"}}`,
		`{"id":2,` + connect,
		`{"id":3,"subscribe":{"channel":"a.*","since":2,"epoch":"e"}}`,
		`{"ack":{"channel":"a.b","seq":7,"epoch":"e"}}`,
		`{"ack":{"channel":"a.b","seq":1,"epoch":"f"}}`,
	}
	if d := cmp.Diff(want, got.Sent); d != "" {
		t.Error(d)
	}
	b.noFaults()
}
