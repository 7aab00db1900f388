// Package access keeps what must be known of tokens on every gateway: tickets, which are tokens that can be used once, and
// revocations.
//
// A ticket is opaque: "jw1_" and the base64url form, without padding, of when it ends (6 bytes, Unix milliseconds), 16 random bytes
// and 16 bytes of an HMAC-SHA256 over what it is for and both, under a key that the gateways share. So what nobody has issued, what
// has ended, and what is for something else is refused without asking NATS. What it stands for is a value in the JetStream key-value
// bucket jetwire_tickets, under the SHA-256 of its random bytes: who reads the bucket cannot use it. The bucket's key "key" is the
// shared key, made by whichever gateway was first.
//
// A revocation is a value in the bucket jetwire_revoked, under a name of its own, as JSON:
//
//	{"user":"alice","before":1795320748123,"until":1797912748123}  or  {"id":"<jti>","until":…}
//
// Both are forgotten by NATS when their time is over (Nats-TTL). The buckets hold at most MaxTickets and MaxRevocations.
//
// Invariants:
//   - A ticket is redeemed once, whatever gateways try it at the same time: it is deleted over the revision that was read.
//   - A revocation that Revoke has answered reaches every gateway that is connected to NATS at once. A gateway that is not goes on
//     with what it knows, and reads all of them again when it is back.
//   - Nothing is logged, and no error says, what a ticket, its value or the key is.
//
// The package must know nothing of sockets, sessions, or what a ticket's value says.
package access
