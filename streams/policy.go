package streams

import (
	"time"
)

// Storage is where a stream keeps its messages.
type Storage uint8

// The storages.
const (
	File   Storage = iota // on disk: survives a restart and a killed process
	Memory                // lost when the server (with Replicas, a majority of them) stops
)

// String returns the storage's name as it stands in configuration files.
func (s Storage) String() string {
	if s == Memory {
		return "memory"
	}
	return "file"
}

// The defaults of Policy and Options.
const (
	DefaultDedupWindow    = 2 * time.Minute
	DefaultMaxMessageSize = 64 << 10
	DefaultMaxUnlisted    = 64
	DefaultPublishTimeout = 5 * time.Second
	DefaultSyncPause      = time.Millisecond
	DefaultIndexBytes     = 256 << 20
	DefaultRingBytes      = 12 << 20
)

// Policy is what a namespace promises about its messages. The zero value of each field is the default named beside it.
type Policy struct {
	Namespace      string
	Storage        Storage       // File
	Replicas       int           // 1
	MaxAge         time.Duration // 0: for ever
	MaxPerChannel  int64         // messages kept per channel; 0: no limit
	MaxBytes       int64         // of the stream; 0: no limit
	MaxMessages    int64         // of the stream; 0: no limit
	MaxMessageSize int           // bytes of a body; 0: Options.MaxMessageSize
	DedupWindow    time.Duration // 2 min
	Sync           bool          // answer and deliver only what Options.Sync has made to survive a power cut
	ServerSyncs    bool          // the NATS servers sync before they acknowledge (sync_interval: always): somebody's word, which is not checked

	batches  bool // the stream takes atomic batches, and is better off with them
	unlisted bool // it is the default policy's: the storage of a stream that exists is kept
}

// The durability classes, as Ack and Stream name them.
const (
	DurabilityNone       = "none"       // QoS 0: not stored
	DurabilityMemory     = "memory"     // lost when the server stops
	DurabilityFile       = "file"       // survives a killed server; a power cut may take what JetStream has not synced yet
	DurabilityFileSync   = "file+sync"  // survives a power cut
	DurabilityReplicated = "replicated" // acknowledged by a majority of replicas

	DurabilityReplicatedSync = "replicated+sync" // synced by a majority of replicas before it was acknowledged
)

// Durability returns the durability class of what is stored under p.
func (p Policy) Durability() string {
	switch {
	case p.Storage == Memory:
		return DurabilityMemory
	case p.Replicas > 1 && p.ServerSyncs:
		return DurabilityReplicatedSync
	case p.Replicas > 1:
		return DurabilityReplicated
	case p.synced() || p.ServerSyncs:
		return DurabilityFileSync
	default:
		return DurabilityFile
	}
}

// synced reports whether acknowledgements and the tail wait for a sync of the store.
func (p Policy) synced() bool { return p.Sync && p.Storage == File && p.Replicas <= 1 }

// wantsBatches reports whether publishing in atomic batches saves the server syncs. Replicas sync what they take together
// as it is.
func (p Policy) wantsBatches() bool { return p.ServerSyncs && p.Storage == File && p.Replicas <= 1 }
