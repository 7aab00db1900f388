// Package commands carries what clients want done to the backends that do it. README.md beside this file is for their authors: a backend
// needs a NATS client and nothing of Jetwire's.
//
// A command is a message in the work queue jetwire_commands, under jetwire.command.<destination>. A backend takes it with a durable consumer
// of its own and acknowledges it; until then it comes again. A call is a NATS request to jetwire.call.<destination>. Both have headers
// that say who sent them (package origin); they are written here, and nothing that a client sends ends up in them unescaped.
//
// A command that a consumer has given up (it was delivered MaxDeliver times, or terminated) becomes a dead letter (package dead). NATS
// tells of that at most once and to whoever listens, so what it tells is kept in the stream jetwire_advisories, from which all gateways
// pull with one shared consumer: first the letter is stored, then the command is taken from the queue, then the advisory is acknowledged. What JetStream told nobody of is
// found by looking through the queue once a minute.
//
// Invariants:
//   - A receipt is given only for what JetStream has acknowledged, and with Options.Synced for what has been synced. When the outcome
//     is not known, the error is ErrTimeout.
//   - With an id a command is stored once within Options.DedupWindow, however often and through whichever gateway it is put. JetStream
//     knows the ids of what it holds, and of what has left the queue until it is started anew: whoever puts a command again after both a
//     backend has handled it and its server was restarted has it handled again. Backends know it by its sender and id.
//   - Nothing here blocks who puts or calls: a full queue, a broken connection and a missing backend are errors, at once or by a
//     deadline. What may wait is bounded.
//   - A command leaves the queue because a backend has acknowledged or terminated it, because its letter is stored, or because of
//     Options.MaxAge.
//
// The package must know nothing of sockets, sessions, grants or the wire protocol.
//
// Its one lock, calls.mu, is not held while another is taken, or while anything is called back.
package commands
