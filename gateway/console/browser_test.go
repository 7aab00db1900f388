package console_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/client"
	"github.com/jetwire/jetwire/gateway/console"
	"github.com/jetwire/jetwire/streams"
	"github.com/jetwire/jetwire/streams/natstest"
)

var secret = []byte("0123456789abcdef0123456789abcdef")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a gateway with the page, whose address outlives it.
type site struct {
	t    *testing.T
	nats *natstest.Server
	addr string
	g    *gateway.Gateway
	done chan error
}

func newSite(t *testing.T) *site {
	s := &site{t: t, nats: natstest.Run(t), addr: "127.0.0.1:0"}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *site) start() {
	s.t.Helper()
	verifier, err := auth.NewVerifier(secret)
	if err != nil {
		s.t.Fatal(err)
	}
	connect := func(name string, extra ...nats.Option) (*nats.Conn, error) {
		return nats.Connect(s.nats.URL(), append([]nats.Option{nats.Name(name)}, extra...)...)
	}
	s.g, err = gateway.New(s.t.Context(), gateway.Options{
		Streams:  streams.Options{Connect: connect, Default: &streams.Policy{}},
		Verifier: verifier,
		Page:     console.Handler(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	addr, err := s.g.Listen(s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr, s.done = addr.String(), make(chan error, 1)
	go func(g *gateway.Gateway, done chan error) { done <- g.Serve() }(s.g, s.done)
}

func (s *site) stop() {
	if s.g == nil {
		return
	}
	if err := s.g.Close(); err != nil {
		s.t.Error(err)
	}
	if err := <-s.done; !errors.Is(err, gateway.ErrClosed) {
		s.t.Error(err)
	}
	s.g = nil
}

func token(t *testing.T, g auth.Grant) string {
	t.Helper()
	s, err := auth.Sign(secret, g)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// publish sends messages as the user bob.
func (s *site) publish(channel string, bodies ...string) {
	s.t.Helper()
	c, err := client.Dial(s.t.Context(), client.Options{URL: "ws://" + s.addr + gateway.Path, FailFast: true,
		Token: func(context.Context) (string, error) { return token(s.t, auth.Grant{User: "bob"}), nil }})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	for _, b := range bodies {
		if _, err := c.Publish(s.t.Context(), channel, []byte(b), client.PublishOptions{}); err != nil {
			s.t.Fatal(err)
		}
	}
}

// tab is a browser's tab. What goes wrong in its scripts fails the test.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu     sync.Mutex
	faults []string
}

func newTab(t *testing.T, url string, width, height int) *tab {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("no Chromium in the path")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.WindowSize(width, height), chromedp.Flag("disable-background-networking", true), chromedp.UserDataDir(t.TempDir()))
	alloc, cancelAlloc := chromedp.NewExecAllocator(context.Background(), opts...)
	quiet := func(string, ...any) {} // a browser newer than the library says things that it does not know
	ctx, cancel := chromedp.NewContext(alloc, chromedp.WithErrorf(quiet), chromedp.WithLogf(quiet))
	b := &tab{t: t, ctx: ctx}
	b.do() // starts the browser
	limited, cancelTime := context.WithTimeout(ctx, 60*time.Second)
	b.ctx = limited
	messages := chromedp.Console(limited)
	var listening sync.WaitGroup
	listening.Go(func() { b.listen(messages) })
	t.Cleanup(func() {
		if t.Failed() {
			b.picture("failed")
		}
		cancelTime()
		listening.Wait()
		_ = chromedp.Cancel(ctx)
		cancel()
		cancelAlloc()
	})
	b.do(chromedp.EmulateViewport(int64(width), int64(height)), chromedp.Navigate(url))
	return b
}

func (b *tab) listen(messages iter.Seq2[chromedp.ConsoleMessage, error]) {
	for m, err := range messages {
		if err != nil {
			return
		}
		// While the server is away the browser says so.
		if (m.Type == chromedp.ConsoleError || m.Type == chromedp.ConsoleException) && !strings.Contains(m.Text, "WebSocket connection") {
			b.mu.Lock()
			b.faults = append(b.faults, m.Text)
			b.mu.Unlock()
		}
	}
}

func (b *tab) noFaults() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.faults {
		b.t.Errorf("in the page: %s", f)
	}
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// wait waits until an expression is true.
func (b *tab) wait(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](expression, chromedp.WithPollingInterval(30*time.Millisecond))); err != nil {
		page, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.body.innerText`))
		b.t.Fatalf("%s: %v; the page shows:\n%s", expression, err, page)
	}
}

// picture writes what the tab shows to the directory that JETWIRE_TEST_PICTURES names, if it does.
func (b *tab) picture(name string) {
	dir := os.Getenv("JETWIRE_TEST_PICTURES")
	if dir == "" {
		return
	}
	if png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot()); err == nil {
		_ = os.WriteFile(filepath.Join(dir, b.t.Name()+"-"+name+".png"), png, 0o600)
	}
}

func (b *tab) connect(token string) {
	b.t.Helper()
	b.do(chromedp.WaitVisible(chromedp.CSS("#token")), chromedp.SendKeys(chromedp.CSS("#token"), token+"\n"))
}

// connectDevice is connect to a durable session.
func (b *tab) connectDevice(token, device string) {
	b.t.Helper()
	b.do(chromedp.WaitVisible(chromedp.CSS("#device")), chromedp.SetValue(chromedp.CSS("#device"), device))
	b.connect(token)
}

// open shows a channel's room.
func (b *tab) open(channel string) {
	b.t.Helper()
	b.wait(fmt.Sprintf(`(() => {
		const label = [...document.querySelectorAll("#channels .label")].find(e => e.textContent === %q);
		label?.click();
		return !!label;
	})()`, channel))
}

func (b *tab) subscribe(channel string) {
	b.t.Helper()
	b.do(chromedp.WaitVisible(chromedp.CSS("#channel")), chromedp.SendKeys(chromedp.CSS("#channel"), channel+"\n"))
}

const connected = `document.querySelector("#state").dataset.state === "connected"`

// bodies is true when the messages on the screen are these.
func bodies(want ...string) string {
	return fmt.Sprintf(`JSON.stringify([...document.querySelectorAll("#messages .body")].map(e => e.textContent)) === JSON.stringify(%s)`, list(want))
}

func list(s []string) string {
	q := make([]string, len(s))
	for i := range s {
		q[i] = fmt.Sprintf("%q", s[i])
	}
	return "[" + strings.Join(q, ",") + "]"
}

func TestPage(t *testing.T) {
	s := newSite(t)
	s.publish("chat.lobby", `"one"`, `{"n":12345678901234567890}`)
	b := newTab(t, "http://"+s.addr+"/", 1100, 700)
	b.picture("start")
	b.connect(token(t, auth.Grant{User: "alice"}))
	b.wait(connected)
	b.wait(`document.querySelector("#user").textContent === "alice"`)

	b.subscribe("chat.lobby") // shows the past
	b.wait(bodies(`"one"`, `{"n":12345678901234567890}`))

	b.do(chromedp.SendKeys(chromedp.CSS("#data"), `{"hi": 1}`+"\n"))
	b.wait(bodies(`"one"`, `{"n":12345678901234567890}`, `{"hi":1}`))
	b.wait(`document.querySelector("#messages li:last-child .from").textContent === "alice"`)
	b.wait(`document.querySelector("#messages li:last-child .seq").textContent === "#3"`)
	b.wait(`document.querySelector("#messages li:last-child time").textContent !== ""`)

	// What comes from others is text, never markup.
	s.publish("chat.lobby", `<img src=x onerror=alert(1)>`)
	b.wait(`[...document.querySelectorAll("#messages .body")].at(-1).textContent === "<img src=x onerror=alert(1)>"`)
	b.wait(`document.querySelectorAll("#messages img").length === 0`)
	b.picture("messages")

	// A message at QoS 0 has no sequence.
	b.do(chromedp.SetValue(chromedp.CSS("#qos"), "0"), chromedp.SendKeys(chromedp.CSS("#data"), "typing …"+"\n"))
	b.wait(`document.querySelector("#messages li:last-child .seq").textContent === "–"`)

	// A channel that nobody may read.
	b.subscribe("user.bob")
	b.wait(`document.querySelector("#notes").textContent.includes("permission_denied")`)
	b.wait(`document.querySelectorAll("#channels li").length === 1`)
	b.noFaults()
}

func TestPageComesBackWhereItWas(t *testing.T) {
	s := newSite(t)
	b := newTab(t, "http://"+s.addr+"/", 1100, 700)
	b.connect(token(t, auth.Grant{User: "alice"}))
	b.subscribe("chat.lobby")
	b.wait(connected)
	s.publish("chat.lobby", "1", "2")
	b.wait(bodies("1", "2"))

	page := s.addr
	s.stop()
	b.wait(`document.querySelector("#state").dataset.state !== "connected"`)
	s.addr = "127.0.0.1:0" // messages come through another gateway meanwhile
	s.start()
	s.publish("chat.lobby", "3", "4")
	s.stop()
	s.addr = page
	s.start()
	b.wait(connected)
	b.wait(bodies("1", "2", "3", "4"))
	s.publish("chat.lobby", "5")
	b.wait(bodies("1", "2", "3", "4", "5"))
	b.noFaults()

	// A page that is loaded again has its token and its channels still.
	b.do(chromedp.Reload())
	b.wait(bodies("1", "2", "3", "4", "5"))
}

func TestPageRefusesABadToken(t *testing.T) {
	s := newSite(t)
	b := newTab(t, "http://"+s.addr+"/", 1100, 700)
	b.connect("nonsense")
	b.wait(`document.querySelector("#notes").textContent.includes("bad_token")`)
	b.do(chromedp.WaitVisible(chromedp.CSS("#token")))
	b.wait(`sessionStorage.getItem("jetwire.token") === null`)
	b.noFaults()
}

func TestPageShowsOlderMessages(t *testing.T) {
	s := newSite(t)
	var all []string
	for i := range 120 {
		all = append(all, fmt.Sprint(i))
	}
	s.publish("chat.lobby", all...)
	b := newTab(t, "http://"+s.addr+"/", 390, 844) // a phone
	b.connect(token(t, auth.Grant{User: "alice"}))
	b.subscribe("chat.lobby")
	b.wait(bodies(all[70:]...))
	b.wait(`document.documentElement.scrollWidth <= innerWidth && document.documentElement.scrollHeight <= innerHeight`)
	b.picture("phone")
	b.do(chromedp.Click(chromedp.CSS("#older")))
	b.wait(bodies(all[20:]...))
	b.do(chromedp.Click(chromedp.CSS("#older")))
	b.wait(bodies(all...))
	b.wait(`document.querySelector("#older").hidden`)
	b.noFaults()
}

// A room that is opened while messages come: the past ends where the subscription begins, with nothing between and nothing twice.
func TestPageHistoryMeetsLive(t *testing.T) {
	s := newSite(t)
	b := newTab(t, "http://"+s.addr+"/", 1100, 700)
	b.connect(token(t, auth.Grant{User: "alice"}))
	b.wait(connected)
	some := make([]string, 100)
	for i := range some {
		some[i] = fmt.Sprint(i)
	}
	s.publish("chat.lobby", some...)
	enough, published := make(chan struct{}), make(chan int)
	go func() {
		pace := time.NewTicker(20 * time.Millisecond) // a page that has no time to show them has none to subscribe
		defer pace.Stop()
		for n := len(some); ; n += 10 {
			select {
			case <-enough:
				published <- n
				return
			case <-pace.C:
				s.publish("chat.lobby", some[:10]...)
			}
		}
	}()
	b.subscribe("chat.lobby")
	const seqs = `[...document.querySelectorAll("#messages .seq")].map(e => Number(e.textContent.slice(1)))`
	b.wait(seqs + `.length > 50`)
	close(enough)
	b.wait(fmt.Sprintf("%s.at(-1) === %d", seqs, <-published))
	b.do(chromedp.Click(chromedp.CSS("#older")))
	b.wait(`!document.querySelector("#older").disabled && ` + seqs + `.length > 100`)
	b.wait(seqs + `.every((n, i, s) => i === 0 || n === s[i - 1] + 1)`)
	b.noFaults()
}
