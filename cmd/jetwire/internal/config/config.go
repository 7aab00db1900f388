// Package config is what a server can be told: its shape, its defaults, how it is read from a YAML file, and what must
// hold before a server starts with it.
//
// Reading is strict: an unknown key, a key given twice and a value of a wrong type are errors that name their line, and
// no error shows the file's text, since that may hold a secret.
//
// The package knows values. It must not know flags or the environment (the program lays those over what is read here), and it
// starts nothing.
package config

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/api"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/hub"
	"github.com/jetwire/jetwire/gateway/transport"
	"github.com/jetwire/jetwire/streams"
	"github.com/jetwire/jetwire/streams/commands"
	"github.com/jetwire/jetwire/streams/dead"
	"github.com/jetwire/jetwire/streams/devices"
	"github.com/jetwire/jetwire/streams/events"
)

// The defaults that this package owns.
const (
	DefaultListen       = "127.0.0.1:8080"
	DefaultDrainTimeout = 10 * time.Second
	DefaultLeeway       = 5 * time.Second
)

// Config is everything a server can be told. Default returns what holds where nothing is said.
type Config struct {
	Listen        string      `yaml:"listen"` // HOST:PORT of WebSockets and HTTP
	Data          string      `yaml:"data"`   // directory of the secret and the embedded store
	InsecureNoTLS bool        `yaml:"insecure_no_tls"`
	TLS           TLS         `yaml:"tls"`
	NATS          NATS        `yaml:"nats"`
	Token         Token       `yaml:"token"`
	API           API         `yaml:"api"`
	Origins       []string    `yaml:"origins"` // besides the server's own
	Limits        Limits      `yaml:"limits"`
	Memory        Memory      `yaml:"memory"`
	Devices       Devices     `yaml:"devices"`
	Commands      Commands    `yaml:"commands"`
	DeadLetters   DeadLetters `yaml:"dead_letters"`
	Webhooks      []Webhook   `yaml:"webhooks,omitempty"`
	Events        Events      `yaml:"events"`
	Unified       Unified     `yaml:"unified"`

	Authorizers map[string]Authorizer `yaml:"authorizers,omitempty"` // asked what tokens and rules cannot say, where a namespace names one

	Default     DefaultNamespace     `yaml:"default"`
	Namespaces  map[string]Namespace `yaml:"namespaces"`
	AllowShrink bool                 `yaml:"allow_shrink"` // let a smaller limit delete stored messages
	Sync        bool                 `yaml:"sync"`         // of the embedded store, where a namespace says nothing else

	Portable     bool     `yaml:"portable"` // goroutines instead of epoll
	Loops        int      `yaml:"loops"`    // epoll loops; 0: one for each CPU
	DrainTimeout Duration `yaml:"drain_timeout"`
	Log          Log      `yaml:"log"`
}

// TLS names the files of the server's certificate. Both empty: no TLS.
type TLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// NATS says where the log is. An empty URL means the embedded server, whom the other fields but Creds are for.
type NATS struct {
	URL       string `yaml:"url"`
	Creds     string `yaml:"creds"`
	Listen    string `yaml:"listen"`     // HOST:PORT for other programs; empty: none but this process
	MaxStore  Size   `yaml:"max_store"`  // bytes on disk; 0: three quarters of what is free
	MaxMemory Size   `yaml:"max_memory"` // bytes of memory streams; 0: three quarters of the machine's

	SyncPause Duration `yaml:"sync_pause"` // the least time between two syncs of the store while messages keep coming
}

// Limits bounds what clients can make grow.
type Limits struct {
	Connections           int      `yaml:"connections"`             // 0: only the descriptor limit
	ConnectionsPerAddress int      `yaml:"connections_per_address"` // 0: no limit
	Subscriptions         int      `yaml:"subscriptions"`           // of one connection
	InFlight              int      `yaml:"in_flight"`               // commands of one connection that wait for answers
	MessageBytes          Size     `yaml:"message_bytes"`           // of one WebSocket message from a client
	BodyBytes             Size     `yaml:"body_bytes"`              // of a message's body, where its namespace names none
	QueueBytes            Size     `yaml:"queue_bytes"`             // that wait for one socket
	HandshakeBytes        Size     `yaml:"handshake_bytes"`
	HandshakeTimeout      Duration `yaml:"handshake_timeout"` // from accept until connect is answered
	PingInterval          Duration `yaml:"ping_interval"`
	PublishTimeout        Duration `yaml:"publish_timeout"` // how long the log may take
	HistoryPage           int      `yaml:"history_page"`    // messages
	UnlistedNamespaces    int      `yaml:"unlisted_namespaces"`
	RequestBytes          Size     `yaml:"request_bytes"` // of one request to the server API; 0: 1 MiB, or twice message_bytes
	Requests              int      `yaml:"requests"`      // to the server API that are served at a time
	StallTimeout          Duration `yaml:"stall_timeout"` // a socket that accepts nothing for so long is closed
	AckWait               Duration `yaml:"ack_wait"`      // without an ack for so long a device's messages are sent again
	Unacked               int      `yaml:"unacked"`       // messages of one subscription of a device that wait for acks
	DevicesPerUser        int      `yaml:"devices_per_user"`
	Calls                 int      `yaml:"calls"`               // to backends, under way
	CallsPerNamespace     int      `yaml:"calls_per_namespace"` // of these, to destinations of one namespace
	CallTimeout           Duration `yaml:"call_timeout"`        // how long a call may wait for its backend, at most
	CallReplyBytes        Size     `yaml:"call_reply_bytes"`    // of a backend's answer

	// Rates, and how much of each may come at once. A rate of 0 is no limit, a burst of 0 what the rate lets through in a second.
	CommandsPerSecond           float64 `yaml:"commands_per_second"` // of one connection, of any kind
	CommandsBurst               int     `yaml:"commands_burst"`
	UserMessagesPerSecond       float64 `yaml:"user_messages_per_second"` // of one user through all gateways, approximately
	UserMessagesBurst           int     `yaml:"user_messages_burst"`
	ConnectsPerSecondPerAddress float64 `yaml:"connects_per_second_per_address"`
	ConnectsBurstPerAddress     int     `yaml:"connects_burst_per_address"`
}

// Devices says how the records of durable sessions are kept.
type Devices struct {
	Expiry   Duration `yaml:"expiry"`             // a device that nobody has used for so long is forgotten
	Storage  string   `yaml:"storage,omitempty"`  // file (default) or memory
	Replicas int      `yaml:"replicas,omitempty"` // 0: as the default namespace
}

// Memory bounds what the log keeps in memory to answer faster.
type Memory struct {
	IndexBytes Size `yaml:"index_bytes"` // of all streams
	RingBytes  Size `yaml:"ring_bytes"`  // of each stream
}

// Namespace is the policy and the rules of one namespace. The zero value of each field is its default.
type Namespace struct {
	Storage        string    `yaml:"storage,omitempty"` // file (default) or memory
	Replicas       int       `yaml:"replicas,omitempty"`
	MaxAge         Duration  `yaml:"max_age,omitempty"`          // 0: for ever
	MaxPerChannel  int64     `yaml:"max_per_channel,omitempty"`  // messages; 0: no limit
	MaxBytes       Size      `yaml:"max_bytes,omitempty"`        // 0: no limit
	MaxMessages    int64     `yaml:"max_messages,omitempty"`     // 0: no limit
	MaxMessageSize Size      `yaml:"max_message_size,omitempty"` // 0: limits.body_bytes
	DedupWindow    Duration  `yaml:"dedup_window,omitempty"`
	Sync           Sync      `yaml:"sync,omitempty"`
	Slow           string    `yaml:"slow,omitempty"` // catch-up (default) or disconnect: what becomes of a socket that takes no more
	Subscribe      auth.Rule `yaml:"subscribe,omitempty"`
	Publish        auth.Rule `yaml:"publish,omitempty"`
	History        auth.Rule `yaml:"history,omitempty"`
	Presence       auth.Rule `yaml:"presence,omitempty"`
	Command        auth.Rule `yaml:"command,omitempty"`
	Call           auth.Rule `yaml:"call,omitempty"`
	Authorizer     string    `yaml:"authorizer,omitempty"` // one of authorizers, who has to say yes as well
}

// Rules returns the rules that the namespace names; the others are empty.
func (n *Namespace) Rules() auth.Rules {
	return auth.Rules{
		auth.Subscribe: n.Subscribe, auth.Publish: n.Publish, auth.History: n.History,
		auth.Presence: n.Presence, auth.Command: n.Command, auth.Call: n.Call,
	}
}

// DefaultNamespace is what namespaces have that are not listed: `off`, which refuses them, or a Namespace.
type DefaultNamespace struct {
	Off bool
	Namespace
}

// Log says what is logged and how.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn, error
	Format string `yaml:"format"` // auto (text on a terminal, else JSON), text, json
}

// Default returns the defaults.
func Default() Config {
	return Config{
		Listen: DefaultListen,
		Data:   dataDir(),
		Limits: Limits{
			Subscriptions:      gateway.DefaultSubscriptions,
			InFlight:           gateway.DefaultInFlight,
			MessageBytes:       transport.DefaultMaxMessage,
			BodyBytes:          streams.DefaultMaxMessageSize,
			QueueBytes:         transport.DefaultQueueBytes,
			HandshakeBytes:     transport.DefaultHandshakeBytes,
			HandshakeTimeout:   Duration(transport.DefaultHandshakeTimeout),
			PingInterval:       Duration(transport.DefaultPingInterval),
			PublishTimeout:     Duration(streams.DefaultPublishTimeout),
			HistoryPage:        gateway.DefaultHistoryPage,
			Requests:           api.DefaultConcurrent,
			UnlistedNamespaces: streams.DefaultMaxUnlisted,
			StallTimeout:       Duration(transport.DefaultStallTimeout),
			AckWait:            Duration(hub.DefaultAckWait),
			Unacked:            hub.DefaultMaxUnacked,
			DevicesPerUser:     devices.DefaultPerUser,
			Calls:              commands.DefaultCalls,
			CallsPerNamespace:  commands.DefaultNamespaceCalls,
			CallTimeout:        Duration(commands.DefaultMaxCallTimeout),
			CallReplyBytes:     commands.DefaultMaxReply,
		},
		Events:       Events{MaxAge: Duration(events.DefaultMaxAge), MaxBytes: events.DefaultMaxBytes},
		Devices:      Devices{Expiry: Duration(devices.DefaultExpiry)},
		Commands:     Commands{MaxBytes: commands.DefaultMaxBytes, DedupWindow: Duration(commands.DefaultDedupWindow)},
		DeadLetters:  DeadLetters{MaxAge: Duration(dead.DefaultMaxAge), MaxBytes: dead.DefaultMaxBytes},
		Token:        Token{Leeway: Duration(DefaultLeeway)},
		Unified:      Unified{ClientToClient: string(auth.Own), TokenLife: Duration(gateway.DefaultUnifiedTokenLife)},
		NATS:         NATS{SyncPause: Duration(streams.DefaultSyncPause)},
		Memory:       Memory{IndexBytes: streams.DefaultIndexBytes, RingBytes: streams.DefaultRingBytes},
		Sync:         true,
		DrainTimeout: Duration(DefaultDrainTimeout),
		Log:          Log{Level: "info", Format: "auto"},
	}
}

// dataDir follows the XDG base directory specification; empty if the environment names no home.
func dataDir() string {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "jetwire")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "share", "jetwire")
}

// ErrNoData says that there is no directory for data.
var ErrNoData = errors.New("no data directory: the environment names no home, so give --data DIR")
