package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/cmd/jetwire/internal/natsd"
)

// TestWhatANewUserDoes is the quick start of the README.
func TestWhatANewUserDoes(t *testing.T) {
	dir := t.TempDir()
	server, a := serve(t, dir)
	url := "--url=" + a.URL
	sub := start(t, dir, "sub", "chat.lobby", "--count", "2", url)
	sub.says("subscribed to chat.lobby")
	if here := do(t, dir, 0, "presence", "chat.lobby", url); !slices.Equal(here, []string{`{"channel":"chat.lobby","connections":1,"users":[{"user":"alice","connections":1}]}`}) {
		t.Errorf("presence: %s", here)
	}

	first := answered(t, do(t, dir, 0, "pub", "chat.lobby", `{"hi":1}`, url)[0])
	if first.Channel != "chat.lobby" || first.Seq != 1 || first.Epoch == "" || first.Duplicate || first.Durability != synced() {
		t.Errorf("%+v", first)
	}
	again := do(t, dir, 0, "pub", "--id", "m1", "chat.lobby", "hello there", url)
	retry := do(t, dir, 0, "pub", "chat.lobby", "hello there", "--id", "m1", url)
	if x, y := answered(t, again[0]), answered(t, retry[0]); x.Seq != 2 || y.Seq != 2 || x.Duplicate || !y.Duplicate {
		t.Errorf("%+v, %+v", x, y)
	}

	if code := sub.end(); code != 0 {
		t.Errorf("sub: %d", code)
	}
	history := do(t, dir, 0, "history", "chat.lobby", "--last", "20", url)
	if got := sub.out.lines(); !slices.Equal(got, history) || len(got) != 2 {
		t.Errorf("sub printed\n%s\nhistory\n%s", got, history)
	}
	m := message(t, history[1])
	if m.Seq != 2 || m.Prev != 1 || m.ID != "m1" || m.From != "alice" || string(m.Data) != `"hello there"` || m.Encoding != "text" ||
		time.Since(time.UnixMilli(m.Time)).Abs() > time.Minute {
		t.Errorf("%+v", m)
	}
	for _, key := range []string{"channel", "seq", "prev", "id", "time", "from", "data"} {
		var keys map[string]any
		if err := json.Unmarshal([]byte(history[0]), &keys); err != nil {
			t.Fatal(err)
		}
		if _, ok := keys[key]; !ok || len(keys) != 7 {
			t.Errorf("keys %v", slices.Sorted(maps.Keys(keys)))
		}
	}
	if code := interrupt(server); code != 0 {
		t.Errorf("serve: %d", code)
	}
	noSecrets(t, dir, server)
}

// noSecrets looks for the data directory's secrets in what a process printed.
func noSecrets(t *testing.T, dir string, p *process) {
	t.Helper()
	for _, name := range []string{"secret", "nats-password"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil && strings.Contains(p.out.String()+p.errs.String(), strings.TrimSpace(string(b))) {
			t.Errorf("the output shows DIR/%s", name)
		}
	}
	if strings.Contains(p.out.String()+p.errs.String(), "eyJ") {
		t.Error("the output shows a token")
	}
}

func TestRestartAndSubSince(t *testing.T) {
	for name, stop := range map[string]os.Signal{"SIGTERM": syscall.SIGTERM, "SIGKILL": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			server, a := serve(t, dir)
			pub := start(t, dir, "pub", "chat.lobby", "-", "--url", a.URL)
			fmt.Fprint(pub.in, "1\n2\n\n3\n")
			pub.in.Close()
			if code := pub.end(); code != 0 || len(pub.out.lines()) != 3 {
				t.Fatalf("%d: %s", code, &pub.out)
			}
			server.signal(stop)
			server.end()

			server, a = serve(t, dir)
			server.says("recovered store: stream JW_chat")
			sub := start(t, dir, "sub", "chat.lobby", "--since", "1", "--count", "3", "--url", a.URL)
			sub.wait("the past", func() bool { return len(sub.out.lines()) == 2 })
			do(t, dir, 0, "pub", "chat.lobby", "4", "--url", a.URL)
			if code := sub.end(); code != 0 {
				t.Errorf("sub: %d", code)
			}
			var got []string
			for _, l := range sub.out.lines() {
				m := message(t, l)
				got = append(got, fmt.Sprintf("%d<%d:%s", m.Prev, m.Seq, m.Data))
			}
			if want := "[1<2:2 2<3:3 3<4:4]"; fmt.Sprint(got) != want {
				t.Errorf("got %v, want %s", got, want)
			}
		})
	}
}

// TestKilledWhilePublishing: every message that was acknowledged before the server was killed is in history, once and in order.
func TestKilledWhilePublishing(t *testing.T) {
	dir := t.TempDir()
	server, a := serve(t, dir)
	pub := start(t, dir, "pub", "chat.lobby", "-", "--qos", "1", "--url", a.URL)
	written := make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			if _, err := fmt.Fprintln(pub.in, n); err != nil {
				break
			}
		}
		written <- n
	}()
	pub.wait("a thousand acknowledgements", func() bool { return len(pub.out.lines()) >= 1000 })
	kill(server)
	if code := pub.end(); code != exitUnavailable {
		t.Errorf("pub: %d: %s", code, &pub.errs)
	}
	<-written
	acknowledged := pub.out.lines()

	_, a = serve(t, dir)
	history := do(t, dir, 0, "history", "chat.lobby", "--since", "0", "--url", a.URL)
	if len(history) < len(acknowledged) {
		t.Fatalf("%d acknowledged, %d in history", len(acknowledged), len(history))
	}
	for i, l := range history {
		m := message(t, l)
		if string(m.Data) != strconv.Itoa(i) || m.Seq != uint64(i+1) || m.Prev != uint64(i) {
			t.Fatalf("message %d is %s", i, l)
		}
		if i < len(acknowledged) && answered(t, acknowledged[i]).Seq != m.Seq {
			t.Fatalf("message %d was acknowledged as %s", i, acknowledged[i])
		}
	}
	last := do(t, dir, 0, "history", "chat.lobby", "--last", "1200", "--url", a.URL)
	if want := history[max(0, len(history)-1200):]; !slices.Equal(last, want) {
		t.Errorf("the last %d are not the end of history", len(want))
	}
	newest := do(t, dir, 0, "history", "chat.lobby", "--newest", "--limit", "700", "--url", a.URL)
	slices.Reverse(newest)
	if !slices.Equal(newest, history[len(history)-700:]) {
		t.Error("the newest 700 are not the end of history")
	}
}

func TestSubGoesOnAfterARestart(t *testing.T) {
	dir := t.TempDir()
	server, a := serve(t, dir)
	sub := start(t, dir, "sub", "chat.lobby", "--url", a.URL)
	sub.says("subscribed")
	do(t, dir, 0, "pub", "chat.lobby", "1", "--url", a.URL)
	sub.wait("1", func() bool { return len(sub.out.lines()) == 1 })
	kill(server)
	sub.says("connection lost")
	_, again := serve(t, dir, "--listen", a.Address)
	if again.URL != a.URL {
		t.Fatal(again.URL)
	}
	do(t, dir, 0, "pub", "chat.lobby", "2", "--url", a.URL)
	sub.wait("2", func() bool { return len(sub.out.lines()) == 2 })
	if code := interrupt(sub); code != exitInterrupted {
		t.Errorf("sub: %d", code)
	}
	if m := message(t, sub.out.lines()[1]); m.Seq != 2 || m.Prev != 1 {
		t.Errorf("%+v", m)
	}
}

// A server that is told only of somebody else's public keys takes that one's tokens, and has no secret.
func TestPublicKeys(t *testing.T) {
	dir := t.TempDir()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "issuer.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	_, a := serve(t, dir, "--token-public-keys", file, "--token-issuers", "https://id.example")
	for iss, code := range map[string]int{"https://id.example": 0, "https://evil.example": exitRefused} {
		token, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"sub": "bob", "iss": iss}).SignedString(private)
		if err != nil {
			t.Fatal(err)
		}
		do(t, dir, code, "pub", "chat.lobby", "x", "--url", a.URL, "--token", token)
	}
	if _, err := os.Stat(filepath.Join(dir, "secret")); err == nil {
		t.Error("a secret was made")
	}
}

// Without a token a client may do what rules say anyone may, and nothing else.
func TestAnonymous(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte("namespaces: {news: {subscribe: anyone, history: anyone, publish: server}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, a := serve(t, dir, "--config", file)
	do(t, dir, 0, "history", "news.today", "--url", a.URL, "--anonymous")
	do(t, dir, exitRefused, "history", "chat.lobby", "--url", a.URL, "--anonymous")
	do(t, dir, exitRefused, "pub", "news.today", "x", "--url", a.URL, "--anonymous")
	_, closed := serve(t, t.TempDir())
	do(t, dir, exitRefused, "history", "news.today", "--url", closed.URL, "--anonymous")
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	_, a := serve(t, dir, "--token-leeway", "0s")
	token := do(t, dir, 0, "token", "--user", "bob", "--publish", "chat.lobby")[0]
	expired := start(t, dir, "token", "--user", "bob", "--ttl", "1ms")
	if code := expired.end(); code != 0 {
		t.Fatal(code)
	}
	do(t, dir, 0, "pub", "chat.lobby", "x", "--url", a.URL, "--token", token)
	do(t, dir, exitRefused, "pub", "chat.other", "x", "--url", a.URL, "--token", token)
	do(t, dir, exitRefused, "pub", "chat.lobby", "x", "--url", a.URL, "--token", token+"x")
	do(t, dir, exitRefused, "pub", "chat.lobby", "x", "--url", a.URL, "--token", strings.TrimSpace(expired.out.String()))
	do(t, dir, exitRefused, "sub", "user.alice", "--url", a.URL, "--token", token)
	do(t, dir, exitRefused, "history", "user.alice", "--url", a.URL, "--token", token)
	do(t, dir, exitUsage, "pub", "nonsense", "x", "--url", a.URL, "--token", token)
	p := start(t, dir, "pub", "chat.lobby", "x", "--url", a.URL, "--token", token+"x")
	if p.end(); strings.Contains(p.errs.String(), token[:20]) {
		t.Error("the error shows the token")
	}
}

func TestInterruptedAndFailedOutput(t *testing.T) {
	dir := t.TempDir()
	_, a := serve(t, dir)
	pub := start(t, dir, "pub", "chat.lobby", "-", "--url", a.URL) // waits for standard input
	fmt.Fprintln(pub.in, "1")
	pub.wait("1", func() bool { return len(pub.out.lines()) == 1 })
	if code := interrupt(pub); code != exitInterrupted {
		t.Errorf("pub: %d", code)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full")
	}
	defer full.Close()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"history chat.lobby", "sub chat.lobby --since 0", "token --user x"} {
		args := append(strings.Fields(line), "--data", dir)
		if !strings.HasPrefix(line, "token") {
			args = append(args, "--url", a.URL)
		}
		cmd := exec.Command(path, args...)
		cmd.Stdout = full
		if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != exitFailure {
			t.Errorf("%s on a full disk: %v", line, err)
		}
	}
}

func TestDataDirectoryIsLocked(t *testing.T) {
	dir := t.TempDir()
	first, _ := serve(t, dir)
	second := start(t, dir, "serve", "--listen", "127.0.0.1:0")
	if code := second.end(); code != exitFailure || !strings.Contains(second.errs.String(), fmt.Sprintf("process %d", first.cmd.Process.Pid)) {
		t.Errorf("%d: %s", code, &second.errs)
	}
}

func TestPortInUse(t *testing.T) {
	dir := t.TempDir()
	_, a := serve(t, dir)
	p := start(t, t.TempDir(), "serve", "--listen", a.Address)
	if code := p.end(); code == 0 || !strings.Contains(p.errs.String(), "address already in use") {
		t.Errorf("%d: %s", code, &p.errs)
	}
}

// TestBackendsOverNATS: a plain NATS client is a backend.
func TestBackendsOverNATS(t *testing.T) {
	dir := t.TempDir()
	server, a := serve(t, dir, "--nats-listen", "127.0.0.1:0")
	password, err := os.ReadFile(filepath.Join(dir, "nats-password"))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(a.NATS, nats.UserInfo(natsd.User, strings.TrimSpace(string(password))))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	do(t, dir, 0, "pub", "chat.lobby", "1", "--url", a.URL)
	sub := start(t, dir, "sub", "chat.lobby", "--count", "1", "--url", a.URL)
	sub.says("subscribed")
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "chat.lobby", []byte(`{"from":"backend"}`)); err != nil {
		t.Fatal(err)
	}
	if code := sub.end(); code != 0 {
		t.Fatal(code)
	}
	if m := message(t, sub.out.lines()[0]); m.Seq != 2 || m.From != "" || string(m.Data) != `{"from":"backend"}` {
		t.Errorf("%+v", m)
	}
	interrupt(server)
	noSecrets(t, dir, server)
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	secret := filepath.Join(dir, "mine")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 40)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, a := serve(t, dir, "--listen", "0.0.0.0:0", "--tls-cert", cert, "--tls-key", key, "--token-secret-file", secret)
	if !strings.HasPrefix(a.URL, "wss://127.0.0.1:") || !strings.HasPrefix(a.Page, "https://") || !strings.Contains(a.Sub, "--token-secret-file "+secret) {
		t.Errorf("%+v", a)
	}
	pub := []string{"pub", "chat.lobby", "x", "--token-secret-file", secret, "--url", a.URL}
	if code := start(t, dir, pub...).end(); code == 0 {
		t.Error("an unknown certificate was trusted")
	}
	p := startWith(t, dir, []string{"SSL_CERT_FILE=" + cert}, pub...)
	if code := p.end(); code != 0 {
		t.Errorf("%d: %s", code, &p.errs)
	}
}

func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestHTTP(t *testing.T) {
	_, a := serve(t, t.TempDir())
	for path, says := range map[string]string{"": "<title>Jetwire</title>", "app.js": "import", "healthz": "ok", "readyz": "ready", "metrics": "jetwire_connections"} {
		r, err := http.Get(a.Page + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != http.StatusOK || !strings.Contains(string(body), says) {
			t.Errorf("/%s: %s, %v", path, r.Status, err)
		}
	}
}

func TestExternalNATS(t *testing.T) {
	hub, h := serve(t, t.TempDir(), "--nats-listen", "127.0.0.1:0")
	password, err := os.ReadFile(filepath.Join(h.Data, "nats-password"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	url := strings.Replace(h.NATS, "nats://", "nats://"+natsd.User+":"+strings.TrimSpace(string(password))+"@", 1)
	server, a := serve(t, dir, "--nats", url)
	do(t, dir, 0, "pub", "chat.lobby", "1", "--url", a.URL)
	if got := do(t, h.Data, 0, "history", "chat.lobby", "--url", h.URL); len(got) != 1 {
		t.Errorf("%v", got)
	}
	// NATS goes away: an answer comes at once, and the socket's server lives on.
	kill(hub)
	p := start(t, dir, "pub", "chat.lobby", "2", "--url", a.URL)
	if code := p.end(); code != exitUnavailable {
		t.Errorf("%d: %s", code, &p.errs)
	}
	if code := interrupt(server); code != 0 {
		t.Errorf("serve: %d", code)
	}
	if strings.Contains(server.out.String()+server.errs.String(), strings.TrimSpace(string(password))) {
		t.Error("the output shows the NATS password")
	}
}
