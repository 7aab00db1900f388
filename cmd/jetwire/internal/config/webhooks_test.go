package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/webhook"
)

const webhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// hooks is one webhook that can be, but for what change does to it.
func hooks(change func(*Webhook)) []Webhook {
	w := Webhook{Name: "shop", URL: "https://shop.example/hook", Secret: webhookSecret, Events: []string{"connect"}}
	if change != nil {
		change(&w)
	}
	return []Webhook{w}
}

func TestWebhooks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(file, []byte(strings.Repeat("B", 32)+"\n"+strings.Repeat("C", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := read(t, `
webhooks:
  - {name: shop, url: "https://shop.example/hook", secret: `+webhookSecret+`, events: [connect, disconnect], timeout: 3s, max_attempts: 5}
  - name: mail
    url: http://127.0.0.1:9000/
    secret_file: `+file+`
    previous_secrets: [`+strings.Repeat("D", 32)+`]
    events: [publish]
    namespaces: [chat]
    parallel: 2
`)
	c.Data = "/data"
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	got, err := c.Endpoints()
	if err != nil {
		t.Fatal(err)
	}
	secret := func(text string) []byte {
		b, err := webhook.ParseSecret(text)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	want := []gateway.Webhook{
		{Events: []string{"connect", "disconnect"}, Endpoint: webhook.Endpoint{Name: "shop", URL: "https://shop.example/hook", Secrets: [][]byte{secret(webhookSecret)}, Timeout: 3 * time.Second, MaxAttempts: 5}},
		{Events: []string{"publish"}, Namespaces: []string{"chat"}, Endpoint: webhook.Endpoint{Name: "mail", URL: "http://127.0.0.1:9000/",
			Secrets: [][]byte{secret(strings.Repeat("B", 32)), secret(strings.Repeat("C", 32)), secret(strings.Repeat("D", 32))}, Parallel: 2}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for text, says := range map[string]string{"": "holds no secret", "short": "invalid webhook"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Endpoints(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestWebhooksHideTheirSecrets(t *testing.T) {
	c := Default()
	c.Webhooks = append(hooks(func(w *Webhook) {
		w.URL, w.PreviousSecrets = "https://me:hunter2@shop.example/hook?key=hunter2", []string{webhookSecret}
	}), hooks(func(w *Webhook) { w.URL = "http://[hunter2" })...)
	text, err := c.Show()
	if err != nil {
		t.Fatal(err)
	}
	if s := string(text); strings.Contains(s, webhookSecret[6:]) || strings.Contains(s, "hunter2") || !strings.Contains(s, "shop.example/hook") {
		t.Error(s)
	}
	if c.Webhooks[0].Secret != webhookSecret {
		t.Error("showing the configuration has changed it")
	}
	if err := c.Check(); err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), webhookSecret[6:]) {
		t.Errorf("the error shows a secret: %v", err)
	}
}

func TestCheckWebhooks(t *testing.T) {
	for says, change := range map[string]func(*Config){
		"number 1: want either secret or":          func(c *Config) { c.Webhooks = hooks(func(w *Webhook) { w.SecretFile = "f" }) },
		"number 1: secret: invalid webhook":        func(c *Config) { c.Webhooks = hooks(func(w *Webhook) { w.PreviousSecrets = []string{"short"} }) },
		"number 1: invalid webhook: shop: the URL": func(c *Config) { c.Webhooks = hooks(func(w *Webhook) { w.URL = "shop.example" }) },
		"number 1: url: http to another":           func(c *Config) { c.Webhooks = hooks(func(w *Webhook) { w.URL = "http://shop.example/" }) },
		"there is no event \"birth\"":              func(c *Config) { c.Webhooks = hooks(func(w *Webhook) { w.Events = []string{"birth"} }) },
		"publish needs namespaces":                 func(c *Config) { c.Webhooks = hooks(func(w *Webhook) { w.Events = []string{"publish"} }) },
		"number 1: namespaces: \"chat\"": func(c *Config) {
			c.Default.Off = true
			c.Webhooks = hooks(func(w *Webhook) { w.Namespaces = []string{"chat"} })
		},
		"number 1: namespaces: \"a.b\"":  func(c *Config) { c.Webhooks = hooks(func(w *Webhook) { w.Namespaces = []string{"a.b"} }) },
		"small letters":                  func(c *Config) { c.Webhooks = hooks(func(w *Webhook) { w.Name = "A b" }) },
		"number 1: timeout is at most":   func(c *Config) { c.Webhooks = hooks(func(w *Webhook) { w.Parallel = 1000 }) },
		"number 2: another one is named": func(c *Config) { c.Webhooks = append(hooks(nil), hooks(nil)...) },
		"events.max_age":                 func(c *Config) { c.Events.MaxAge = 1 },
		"events.max_bytes":               func(c *Config) { c.Events.MaxBytes = 1 },
	} {
		c := Default()
		c.Data = "/data"
		change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

func TestTheExampleOfWebhooks(t *testing.T) {
	text, err := os.ReadFile("../../../../gateway/webhook/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	c := read(t, example)
	c.Data = "/data"
	if err := c.Check(); err != nil || len(c.Webhooks) != 1 || len(c.Webhooks[0].Events) == 0 {
		t.Errorf("%v: %+v", err, c.Webhooks)
	}
}
