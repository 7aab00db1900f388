// Package streams is the log: every message that may not be lost lives in NATS JetStream, and everything
// that Jetwire does with it there is done here. One stream per namespace holds all of the namespace's channels as subjects.
//
// A [Log] stores messages (Publish), brings what is stored to this process as it happens (the tail, Options.Deliver), and
// reads any part of a channel's past (Stream.Page). A position in a channel is an epoch, which names one life of a stream,
// and a sequence number of that stream; 0 is before the first.
//
// Invariants:
//   - An Ack is given only for what JetStream has acknowledged. When the outcome is not known, the error is ErrTimeout.
//   - The tail hands on every stored message once, in sequence order, whatever happens to connections, consumers and servers
//     in between. What the log has lost meanwhile shows as a Prev that is ahead of what receivers have, never as silence.
//   - The index and the ring hold no truth. An answer that cannot be given from them is read from the log; a message that they name
//     and the log no longer holds is reported as lost.
//   - Nothing here blocks a publisher: a full queue, a broken connection and a missing stream are errors, at once or by a deadline.
//
// The package must know nothing of sockets, sessions, grants or the wire protocol.
//
// Lock order (a lock is taken only while holding locks to its left):
//
//	opening.admit, space.mu < opening.mu < tail.mu < publisher.mu, syncer.mu, mux.mu, mailbox.mu, reader.mu, ring.mu, runs.mu, scanner.mu, plans.mu, rebuild.mu, suspects.mu, the locks of package index
//
// Where opening.mu is held, a space.mu is only tried. A route.mu is held by nobody who holds another lock. No lock but tail.mu is held while a callback of Options runs, and done callbacks of Publish and With run without any.
package streams
