package config

import (
	"context"
	"errors"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/callout"
)

func read(t *testing.T, text string) Config {
	t.Helper()
	c := Default()
	if err := c.Read([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestReadLaysOverTheDefaults(t *testing.T) {
	t.Setenv("HOME", "/home/alice")
	t.Setenv("XDG_DATA_HOME", "")
	c := read(t, `
listen: 0.0.0.0:443
tls: {cert: c.pem, key: k.pem}
token:
  secret_file: /run/secrets/jetwire
origins: [https://app.example.com]
limits:
  connections: 10000
  message_bytes: 1MiB
  ping_interval: 1m30s
default: off
namespaces:
  chat: {storage: memory, max_age: 30d, max_per_channel: 1000, max_bytes: 2GB, dedup_window: 10m, publish: granted}
  fast: {sync: false}
  news:
`)
	want := Default()
	want.Listen = "0.0.0.0:443"
	want.TLS = TLS{"c.pem", "k.pem"}
	want.Token.SecretFile = "/run/secrets/jetwire"
	want.Origins = []string{"https://app.example.com"}
	want.Limits.Connections, want.Limits.MessageBytes, want.Limits.PingInterval = 10000, 1<<20, Duration(90*time.Second)
	want.Default.Off = true
	want.Namespaces = map[string]Namespace{
		"chat": {Storage: "memory", MaxAge: Duration(30 * 24 * time.Hour), MaxPerChannel: 1000, MaxBytes: 2e9,
			DedupWindow: Duration(10 * time.Minute), Publish: auth.Granted},
		"fast": {Sync: SyncOff},
		"news": {},
	}
	if d := cmp.Diff(want, c); d != "" {
		t.Error(d)
	}
	if c.Data != "/home/alice/.local/share/jetwire" {
		t.Errorf("the data directory is %s", c.Data)
	}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
}

func TestDefaultNamespaceMayHaveAPolicy(t *testing.T) {
	c := read(t, "default:\n  max_age: 1h\n  publish: server\n")
	if want := (DefaultNamespace{Namespace: Namespace{MaxAge: Duration(time.Hour), Publish: auth.Server}}); c.Default != want {
		t.Errorf("%+v", c.Default)
	}
}

func TestEmptyFileSaysNothing(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "limits:\n", "limits:\n  queue_bytes:\n", "limits:\n  # queue_bytes: 1\nlisten:\n"} {
		if d := cmp.Diff(Default(), read(t, text)); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	const secret = "a-secret-that-must-not-be-shown-anywhere"
	for _, c := range []struct{ name, text, line, says string }{
		{"unknown key", "token:\n  secret: " + secret + "\nlisten_on: x\n", "[3:", "listen_on"},
		{"unknown key below", "token:\n  secret: " + secret + "\n  sekret: x\n", "[3:", "sekret"},
		{"unknown key in a namespace", "namespaces:\n  chat:\n    max_ages: 1h\n", "[3:", "max_ages"},
		{"unknown key in default", "default:\n  max_ages: 1h\n", "[2:", "max_ages"},
		{"a key twice", "listen: a:1\nlisten: b:2\n", "[2:", "listen"},
		{"number for a word", "token: {secret: " + secret + "}\nlimits:\n  connections: many\n", "[3:", ""},
		{"list for a word", "listen: [a]\n", "[1:", ""},
		{"size", "limits:\n  queue_bytes: 12 pounds\n", "[2:", "12 pounds"},
		{"negative size", "limits:\n  queue_bytes: -1\n", "[2:", "size"},
		{"duration without a unit", "limits:\n  ping_interval: 25\n", "[2:", "duration"},
		{"map for a duration", "limits:\n  ping_interval: {a: b}\n", "[2:", ""},
		{"sync", "namespaces:\n  chat: {sync: perhaps}\n", "[2:", "none of true, false, always"},
		{"default: on", "default: on\n", "[1:", "want off"},
		{"not YAML", "token: {secret: " + secret + "\nlisten: [\n", "[", ""},
		{"two documents", "listen: a:1\n---\nlisten: b:2\n", "", "more than one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Default()
			err := cfg.Read([]byte(c.text))
			if err == nil {
				t.Fatal("accepted")
			}
			text := err.Error()
			if !strings.HasPrefix(text, c.line) || !strings.Contains(text, c.says) {
				t.Errorf("the error is %q; want %q and %q", text, c.line, c.says)
			}
			if strings.Contains(text, secret) {
				t.Errorf("the error shows the secret: %q", text)
			}
		})
	}
}

func TestReadFileNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jetwire.yaml")
	if err := os.WriteFile(path, []byte("nonsense: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Default()
	if err := c.ReadFile(path); err == nil || !strings.HasPrefix(err.Error(), path+": [1:1]") {
		t.Errorf("%v", err)
	}
	if err := c.ReadFile(path + ".none"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestReadme: the example that the README shows is one.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "```yaml\n")
	example, _, found := strings.Cut(example, "```")
	if !found {
		t.Fatal("there is no example")
	}
	c := read(t, example)
	if err := c.Check(); err != nil || !c.Default.Off || len(c.Namespaces) == 0 {
		t.Errorf("%v: %+v", err, c)
	}
}

func TestShowCanBeReadAgain(t *testing.T) {
	c := read(t, "default: off\nnamespaces: {chat: {max_age: 30d, max_bytes: 1GiB, publish: own}}\nlimits: {ping_interval: 1m}\napi: {keys: [\"(hidden)\", {key: \"(hidden)\", name: shop, scopes: [publish, info]}, {key: \"(hidden)\", scopes: []}]}\n")
	for _, off := range []bool{true, false} {
		c.Default.Off = off
		text, err := c.Show()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c, read(t, string(text)), cmp.Transformer("empty", func(s []string) int { return len(s) })); d != "" {
			t.Errorf("%s\n%s", d, text)
		}
	}
}

func TestAPIKeys(t *testing.T) {
	c := read(t, "api:\n  keys:\n    - 0123456789abcdef\n    - {key: 0123456789abcdeg, name: shop, scopes: [publish]}\n    - {key: 0123456789abcdeh, scopes: []}\n")
	want := []APIKey{{Key: "0123456789abcdef"}, {"0123456789abcdeg", "shop", []auth.Scope{auth.ScopePublish}}, {"0123456789abcdeh", "", []auth.Scope{}}}
	if d := cmp.Diff(want, c.API.Keys); d != "" {
		t.Error(d)
	}
	keys, err := c.API.Known()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Authorize("Bearer 0123456789abcdeh", auth.ScopePublish); !errors.Is(err, auth.ErrScope) {
		t.Errorf("an empty list of scopes: %v", err)
	}
	for _, text := range []string{"api: {keys: [{key: 0123456789abcdef, scope: [publish]}]}", "api: {keys: [[a]]}", "api: {keys: 0123456789abcdef}"} {
		var c Config
		if err := c.Read([]byte(text)); err == nil || strings.Contains(err.Error(), "0123456789abcdef") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestShowHidesSecrets(t *testing.T) {
	c := Default()
	c.Token.Secret = "a-secret-that-must-not-be-shown-anywhere"
	c.Token.PreviousSecrets = []string{"a-secret-of-yesterday-that-must-not-be-shown"}
	c.API.Keys = append(APIKeys("a-secret-key-of-a-backend"), APIKey{"a-secret-key-to-come", "shop", []auth.Scope{"info"}})
	c.Authorizers = map[string]Authorizer{"a": {URL: "https://user:hunter2@a.example/may?key=hunter2", Secret: "a-secret"}, "b": {URL: "http://[hunter2"}, "c": {URL: "https://c.example/may"}}
	c.NATS.URL = "nats://user:hunter2@a:4222,tls://hunter2@b:4222, 127.0.0.1:4222,user:hunter2@d"
	text, err := c.Show()
	if err != nil {
		t.Fatal(err)
	}
	if s := string(text); strings.Contains(s, "a-secret") || strings.Contains(s, "hunter2") || !strings.Contains(s, "127.0.0.1:4222,") || !strings.Contains(s, "https://c.example/may\n") {
		t.Error(s)
	}
	if c.Authorizers["a"].Secret != "a-secret" {
		t.Error("what is shown is not a copy")
	}
}

func TestAuthorizers(t *testing.T) {
	c := read(t, `
authorizers:
  shop: {nats: may-shop, timeout: 1s, cache: 30s, operations: [subscribe, call]}
  web: {url: "https://a.example/may", secret: whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=, data: true}
default: {authorizer: web}
namespaces: {orders: {authorizer: shop}}
`)
	c.Data = "/data"
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	shop, web := c.Authorizers["shop"], c.Authorizers["web"]
	o, err := shop.Options()
	want := callout.Options{Subject: "may-shop", Timeout: time.Second, Cache: 30 * time.Second, Operations: []auth.Op{auth.Subscribe, auth.Call}}
	if d := cmp.Diff(want, o, cmpopts.IgnoreFields(callout.Options{}, "Request")); d != "" || err != nil {
		t.Error(d, err)
	}
	if o, err := web.Options(); err != nil || o.URL != "https://a.example/may" || string(o.Secret) != "0123456789abcdef0123456789abcdef" || !o.Data {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestCheck(t *testing.T) {
	for says, change := range map[string]func(*Config){
		"listen":                                   func(c *Config) { c.Listen = "8080" },
		"cert and key":                             func(c *Config) { c.TLS.Cert = "x" },
		"no data directory":                        func(c *Config) { c.Data = "" },
		"nats.creds":                               func(c *Config) { c.NATS.Creds = "x" },
		"nats.listen":                              func(c *Config) { c.NATS.Listen = "4222" },
		"for the embedded server":                  func(c *Config) { c.NATS.URL, c.NATS.Listen = "nats://x", "x:1" },
		"both given":                               func(c *Config) { c.Token = Token{Secret: "a", SecretFile: "b"} },
		"api.keys: key 2 of 2":                     func(c *Config) { c.API.Keys = APIKeys("0123456789abcdef", "short") },
		"api.keys: key 1 of 1":                     func(c *Config) { c.API.Keys = []APIKey{{"0123456789abcdef", "", []auth.Scope{"everything"}}} },
		"token.jwks: want":                         func(c *Config) { c.Token.JWKS = "id.example.com" },
		"token.jwks: http would":                   func(c *Config) { c.Token.JWKS = "http://id.example.com/keys" },
		"token.leeway":                             func(c *Config) { c.Token.Leeway = Duration(time.Hour) },
		"token.max_lifetime":                       func(c *Config) { c.Token.MaxLifetime = 1 },
		"token.keep_revoked":                       func(c *Config) { c.Token.KeepRevoked = 1 },
		"origins":                                  func(c *Config) { c.Origins = []string{"https://x.example/path"} },
		"limits.subscriptions":                     func(c *Config) { c.Limits.Subscriptions = 0 },
		"limits.connections:":                      func(c *Config) { c.Limits.Connections = -1 },
		"limits.ping_interval":                     func(c *Config) { c.Limits.PingInterval = 0 },
		"limits.body_bytes":                        func(c *Config) { c.Limits.BodyBytes = c.Limits.MessageBytes },
		"limits.queue_bytes: more":                 func(c *Config) { c.Limits.QueueBytes = 1 << 31 },
		"log.level":                                func(c *Config) { c.Log.Level = "loud" },
		"log.format":                               func(c *Config) { c.Log.Format = "xml" },
		"namespaces.a.b":                           func(c *Config) { c.Namespaces = map[string]Namespace{"a.b": {}} },
		"namespaces.jetwire":                       func(c *Config) { c.Namespaces = map[string]Namespace{"jetwire": {}} },
		"namespaces.a.storage":                     func(c *Config) { c.Namespaces = map[string]Namespace{"a": {Storage: "tape"}} },
		"namespaces.a.replicas: the embedded NATS": func(c *Config) { c.Namespaces = map[string]Namespace{"a": {Replicas: 3}} },
		"namespaces.a.replicas: NATS keeps":        func(c *Config) { c.Namespaces = map[string]Namespace{"a": {Replicas: 6}} },
		"namespaces.a.sync: only the embedded": func(c *Config) {
			c.NATS.URL, c.Namespaces = "nats://x", map[string]Namespace{"a": {Sync: SyncOn}}
		},
		"namespaces.a.sync: always is":                    func(c *Config) { c.Namespaces = map[string]Namespace{"a": {Sync: SyncAlways}} },
		"namespaces.a.max_per_channel":                    func(c *Config) { c.Namespaces = map[string]Namespace{"a": {MaxPerChannel: -1}} },
		"namespaces.a.max_message_size":                   func(c *Config) { c.Namespaces = map[string]Namespace{"a": {MaxMessageSize: 1 << 30}} },
		"namespaces.a.slow":                               func(c *Config) { c.Namespaces = map[string]Namespace{"a": {Slow: "never"}} },
		"limits.unacked: too small":                       func(c *Config) { c.Limits.Unacked = 0 },
		"limits.unacked: more":                            func(c *Config) { c.Limits.Unacked = 1 << 20 },
		"limits.ack_wait":                                 func(c *Config) { c.Limits.AckWait = 0 },
		"limits.stall_timeout":                            func(c *Config) { c.Limits.StallTimeout = 0 },
		"limits.commands_per_second":                      func(c *Config) { c.Limits.CommandsPerSecond = -1 },
		"limits.user_messages_per_second":                 func(c *Config) { c.Limits.UserMessagesPerSecond = math.NaN() },
		"limits.user_messages_burst: want":                func(c *Config) { c.Limits.UserMessagesPerSecond, c.Limits.UserMessagesBurst = 1, -1 },
		"limits.connects_burst_per_address: says nothing": func(c *Config) { c.Limits.ConnectsBurstPerAddress = 1 },
		"authorizers.a: invalid":                          func(c *Config) { c.Authorizers = map[string]Authorizer{"a": {}} },
		"operations: \"dance\" is none of": func(c *Config) {
			c.Authorizers = map[string]Authorizer{"a": {NATS: "a", Operations: []string{"dance"}}}
		},
		"authorizers.a: secret:":            func(c *Config) { c.Authorizers = map[string]Authorizer{"a": {URL: "https://a", Secret: "short"}} },
		"namespaces.a.authorizer: there is": func(c *Config) { c.Namespaces = map[string]Namespace{"a": {Authorizer: "b"}} },
		"default.authorizer: there is":      func(c *Config) { c.Default.Authorizer = "b" },
		"devices.expiry":                    func(c *Config) { c.Devices.Expiry = 0 },
		"unified.prefix":                    func(c *Config) { c.Unified.Prefix = "center/" },
		"unified.prefix: \"/{x}\"":          func(c *Config) { c.Unified.Prefix = "/{x}" },
		"unified.public_url":                func(c *Config) { c.Unified.PublicURL = "https://rt.example.com" },
		"unified.client_to_client":          func(c *Config) { c.Unified.ClientToClient = "anyone" },
		"unified.token_life":                func(c *Config) { c.Unified.TokenLife = Duration(48 * time.Hour) },
		"devices.storage":                   func(c *Config) { c.Devices.Storage = "tape" },
		"devices.replicas: the embedded":    func(c *Config) { c.Devices.Replicas = 3 },
		"devices.replicas: NATS keeps":      func(c *Config) { c.Devices.Replicas = 6 },
		"namespaces.a.publish":              func(c *Config) { c.Namespaces = map[string]Namespace{"a": {Publish: "all"}} },
		"default.history":                   func(c *Config) { c.Default.History = "all" },
	} {
		c := Default()
		c.Data = "/data"
		if err := c.Check(); err != nil {
			t.Fatalf("the defaults: %v", err)
		}
		change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

func TestCheckShowsNoPassword(t *testing.T) {
	c := Default()
	c.NATS.URL = "127.0.0.1:4222,nats://user:hunter/2@b:4222"
	if err := c.Check(); err == nil || strings.Contains(err.Error(), "number 1") || !strings.Contains(err.Error(), "number 2") || strings.Contains(err.Error(), "hunter") {
		t.Error(err)
	}
}

func TestCheckListen(t *testing.T) {
	hosts := map[string]string{"localhost": "127.0.0.1", "here": "::1", "box": "192.168.1.2"}
	resolve := func(_ context.Context, host string) ([]net.IPAddr, error) {
		if ip := hosts[host]; ip != "" {
			return []net.IPAddr{{IP: net.ParseIP(ip)}}, nil
		}
		return nil, errors.New("no such host")
	}
	const secret = "0123456789abcdef0123456789abcdef"
	for _, c := range []struct {
		name   string
		change func(*Config)
		says   []string // nil: accepted
	}{
		{"the default", func(*Config) {}, nil},
		{"all of 127/8", func(c *Config) { c.Listen = "127.9.9.9:1" }, nil},
		{"IPv6 loopback", func(c *Config) { c.Listen = "[::1]:1" }, nil},
		{"a name that is local", func(c *Config) { c.Listen = "localhost:1" }, nil},
		{"another", func(c *Config) { c.Listen = "here:1" }, nil},
		{"all addresses", func(c *Config) { c.Listen = ":8080" }, []string{"secret of your own", "TLS"}},
		{"all IPv4", func(c *Config) { c.Listen = "0.0.0.0:8080" }, []string{"secret of your own", "--insecure-no-tls"}},
		{"all IPv6", func(c *Config) { c.Listen = "[::]:8080" }, []string{"secret of your own", "TLS"}},
		{"a name that is not local", func(c *Config) { c.Listen = "box:1" }, []string{"secret of your own"}},
		{"a name that is none", func(c *Config) { c.Listen = "nowhere:1" }, []string{"no such host"}},
		{"a secret alone", func(c *Config) { c.Listen, c.Token.Secret = ":1", secret }, []string{"TLS"}},
		{"TLS alone", func(c *Config) { c.Listen, c.TLS = ":1", TLS{"a", "b"} }, []string{"secret of your own"}},
		{"the word alone", func(c *Config) { c.Listen, c.InsecureNoTLS = ":1", true }, []string{"secret of your own"}},
		{"a secret and TLS", func(c *Config) { c.Listen, c.Token.Secret, c.TLS = ":1", secret, TLS{"a", "b"} }, nil},
		{"a secret and the word", func(c *Config) { c.Listen, c.Token.SecretFile, c.InsecureNoTLS = ":1", "f", true }, nil},
		{"NATS on loopback", func(c *Config) { c.NATS.Listen = "127.0.0.1:4222" }, nil},
		{"NATS for all", func(c *Config) { c.NATS.Listen = ":4222" }, []string{"NATS", "--insecure-no-tls"}},
		{"NATS for all, with the word", func(c *Config) { c.NATS.Listen, c.InsecureNoTLS = ":4222", true }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Default()
			c.change(&cfg)
			err := cfg.CheckListen(t.Context(), resolve)
			if c.says == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			for _, s := range c.says {
				if err == nil || !strings.Contains(err.Error(), s) {
					t.Errorf("%v does not say %q", err, s)
				}
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Error("the error shows the secret")
			}
		})
	}
}

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "mine")
	text := strings.Repeat("s", 32)
	if err := os.WriteFile(file, []byte(text+"\n"), 0o644); err != nil { // as secrets are mounted into containers
		t.Fatal(err)
	}
	c := Default()
	c.Data = dir
	for _, tok := range []Token{{Secret: text}, {SecretFile: file}} {
		c.Token = tok
		if s, err := c.Secret(); string(s) != text || err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, auth.SecretFile)); err == nil {
		t.Error("a secret was made although one is configured")
	}
	c.Token = Token{}
	if s, err := c.Secret(); len(s) < auth.MinSecret || err != nil {
		t.Error(err)
	}
	c.Token = Token{Secret: "short"}
	if _, err := c.Secret(); !errors.Is(err, auth.ErrWeakSecret) {
		t.Error(err)
	}
}

func TestTrust(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n"
	old, key := write("old", strings.Repeat("o", 32)), write("key.pem", public)
	c := read(t, "token:\n  secret: "+strings.Repeat("s", 32)+"\n  previous_secrets: ["+strings.Repeat("p", 32)+"]\n  previous_secret_files: ["+old+
		"]\n  public_keys: ["+key+"]\n  jwks: https://id.example/keys\n  issuers: [us, them]\n  audiences: [chat]\n  leeway: 1s\n  max_lifetime: 1h\n")
	c.Data = dir
	trust, signer, made, err := c.Trust(nil)
	if err != nil || made || len(trust.Secrets) != 3 || len(trust.PublicKeys) != 1 || trust.JWKS == "" || trust.Leeway != time.Second || trust.MaxLifetime != time.Hour ||
		signer.Issuer != "us" || signer.Audience != "chat" {
		t.Errorf("%+v, %v", trust, err)
	}
	// Who names keys of others has no secret made.
	c = read(t, "token: {public_keys: ["+key+"]}")
	c.Data = dir
	if trust, signer, made, err := c.Trust(nil); err != nil || made || signer != nil || trust.Secrets != nil || trust.Leeway != DefaultLeeway {
		t.Errorf("%+v, %v", trust, err)
	}
	if _, err := c.Secret(); !errors.Is(err, ErrNoSecret) {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, auth.SecretFile)); err == nil {
		t.Error("a secret was made")
	}
	c = read(t, "")
	c.Data = dir
	if trust, signer, made, err := c.Trust(nil); err != nil || !made || signer == nil || len(trust.Secrets) != 1 {
		t.Errorf("%+v, %v", trust, err)
	}
	for name, change := range map[string]func(*Token){
		"a weak one before":  func(k *Token) { k.PreviousSecrets = []string{"short-and-secret"} },
		"no file":            func(k *Token) { k.PreviousSecretFiles = []string{filepath.Join(dir, "none")} },
		"no key in the file": func(k *Token) { k.PublicKeys = []string{old} },
	} {
		c := Default()
		c.Data = dir
		change(&c.Token)
		if _, _, _, err := c.Trust(nil); err == nil || strings.Contains(err.Error(), "short-and-secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSizesAndDurations(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "65536": 65536, "64KiB": 65536, "1 MB": 1e6, "3GiB": 3 << 30, "2TB": 2e12, "7B": 7} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "1.5GB", "9999999999999TiB", "0x10", "64kib"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
	for text, want := range map[string]time.Duration{"0s": 0, "0": 0, "500ms": 5e8, "30d": 720 * time.Hour, "1m30s": 9e10} {
		if got, err := ParseDuration(text); err != nil || time.Duration(got) != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "-1s", "-1d", "25", "999999999999d", "1.5d"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
	for _, d := range []time.Duration{0, 5e8, 25 * time.Second, time.Minute, 90 * time.Second, time.Hour, 25 * time.Hour, 48 * time.Hour} {
		if got, err := ParseDuration(Duration(d).String()); err != nil || time.Duration(got) != d {
			t.Errorf("%v is written %v and read %v", d, Duration(d), got)
		}
	}
}

// FuzzRead: whatever a file holds, reading it does not panic, and what it yields can be shown and read again.
func FuzzRead(f *testing.F) {
	f.Add("listen: a:1\nnamespaces: {chat: {max_age: 1d}}\n")
	f.Add("default: off\n---\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := Default()
		if c.Read([]byte(text)) != nil {
			return
		}
		shown, err := c.Show()
		if err != nil {
			t.Fatal(err)
		}
		var back Config
		if err := yaml.Unmarshal(shown, &back); err != nil {
			t.Errorf("%v in\n%s", err, shown)
		}
	})
}

func TestCommandsAreChecked(t *testing.T) {
	for text, want := range map[string]string{
		"commands: {storage: tape}":                "commands.storage",
		"commands: {replicas: 3}":                  "commands.replicas",
		"commands: {max_age: 1ms}":                 "commands.max_age",
		"commands: {max_bytes: 1}":                 "commands.max_bytes",
		"commands: {dedup_window: 1ms}":            "commands.dedup_window",
		"dead_letters: {max_age: 1ms}":             "dead_letters.max_age",
		"limits: {calls: 0}":                       "limits.calls",
		"limits: {call_timeout: 2h}":               "limits.call_timeout",
		"namespaces: {billing: {command: always}}": "namespaces.billing.command",
	} {
		c := read(t, text)
		c.Data = "x"
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	c := read(t, "commands: {max_age: 7d, max_bytes: 1GiB, storage: file}\ndead_letters: {max_age: 90d}\nlimits: {calls: 10, calls_per_namespace: 5, call_timeout: 1m}\nnamespaces: {billing: {command: granted, call: anyone}}")
	c.Data = "x"
	if err := c.Check(); err != nil {
		t.Error(err)
	}
}
