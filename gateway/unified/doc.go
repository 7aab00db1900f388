// Package unified is a service with one message body for everything, for clients that do not speak Jetwire's protocol: README.md beside
// this file says what they see. It translates, and keeps no state of its own.
//
// A Socket stands between a WebSocket and a session. What the client sends becomes commands of the session: a message to the server
// is a command to a backend, one to other clients a publish. What the session answers, and what the hub sends, becomes messages. The session is
// durable under (unique id, client type), and subscribed to the inbox of the unique id and to one channel for all, from which each Socket
// takes what is for its client. The HTTP side gives out tokens for sockets, and takes messages in.
//
// Invariants:
//   - Who sent a message is said by the gateway, never by a client.
//   - A message counts as acknowledged only once a pong has shown that the peer has read beyond it; on one connection it is sent once.
//   - A frame of the hub's is translated once for all sockets that it goes to.
//   - What a client is not told it may do, it may not do: see allow and Rules.
//
// Locks: the hub's, then Socket.mu, then the connection's. Socket.turn is held while a session is given a command, and nothing that
// the session calls takes it.
//
// The package must not know NATS, the hub, or how a socket works.
package unified
