// Package events is the log of what becomes of connections: who has connected, subscribed, unsubscribed and gone. It is the stream
// jetwire_events, of which webhooks, and any NATS client that likes, are readers.
//
// A [Log] appends what one gateway sees, and keeps an entry in a KV bucket for each of its open connections, so that the others can tell
// of the connections of a gateway that has died ([Log.Sweep]).
//
// Invariants:
//   - Appending never waits. What the queue cannot hold is counted, and an event Lost says how many there were.
//   - The events of one connection, and of one user on one gateway, are stored in the order in which they happened.
//   - An event may be stored more than once, with the same ID. Each connection whose Connect is stored gets a Disconnect, unless that is
//     among the lost.
//
// The package must not know sockets, sessions, the protocol, nor who reads.
package events
