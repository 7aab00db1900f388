package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/cmd/jetwire/internal/natsd"
)

// TestCommandAndCall is what somebody does who tries a backend out.
func TestCommandAndCall(t *testing.T) {
	dir := t.TempDir()
	_, a := serve(t, dir, "--nats-listen", "127.0.0.1:0")
	url := "--url=" + a.URL
	password, err := os.ReadFile(filepath.Join(dir, "nats-password"))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(a.NATS, nats.UserInfo(natsd.User, strings.TrimSpace(string(password))))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Subscribe("jetwire.call.billing.quote", func(m *nats.Msg) { _ = m.Respond(append([]byte("for "+m.Header.Get("Jw-From")+" "), m.Data...)) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := do(t, dir, 0, "call", "billing.quote", `{"order":1}`, url)[0]; got != `{"destination":"billing.quote","data":"for alice {\"order\":1}","encoding":"text"}` {
		t.Error(got)
	}
	do(t, dir, 4, "call", "billing.nobody", "1", url)
	for i, want := range []string{"false", "true"} {
		got := do(t, dir, 0, "command", "billing.refund", `{"order":1}`, "--id", "r1", url)[0]
		if got != `{"destination":"billing.refund","seq":1,"duplicate":`+want+`,"durability":"`+synced()+`"}` {
			t.Errorf("%d: %s", i, got)
		}
	}
	do(t, dir, 2, "command", "billing", "1", url)
}

// TestCommandsOutliveTheServer: what was answered is there after the server was killed, and is known again by its id.
func TestCommandsOutliveTheServer(t *testing.T) {
	dir := t.TempDir()
	server, a := serve(t, dir)
	do(t, dir, 0, "command", "billing.refund", "1", "--url="+a.URL)
	do(t, dir, 0, "command", "billing.refund", "2", "--id", "r2", "--url="+a.URL)
	server.signal(syscall.SIGKILL)
	server.end()
	_, a = serve(t, dir)
	if got := do(t, dir, 0, "command", "billing.refund", "2", "--id", "r2", "--url="+a.URL)[0]; !strings.Contains(got, `"seq":2,"duplicate":true`) {
		t.Error(got)
	}
}
