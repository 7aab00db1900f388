// Package devices stores the records of durable sessions: which session holds a (user, device), when it was last seen, and a
// position in each of its subscriptions.
//
// A record is a value in the JetStream key-value bucket jetwire_devices (stream KV_jetwire_devices, history 1, its values expire
// Options.Expiry after they were written). Its key is <user>.<device>, both in base64url without padding, and its subject
// $KV.jetwire_devices.<user>.<device>. Its value is JSON of at most 64 KiB, which nats kv get jetwire_devices <key> shows:
//
//	{"owner":"<session id>","taken":1795320748123,"seen":"2026-11-22T04:12:28Z","positions":[["orders.*.status",1,"<epoch>",5120],…]}
//
// A position is the channel (or pattern), the QoS, the epoch and the sequence up to which it was acknowledged. Taken orders those
// who held the device: milliseconds since 1970 when the session took it, and always more than that of the one before; where two
// are equal, the greater owner is the later. Unknown members are ignored.
//
// Invariants:
//   - A record is written only over the revision that its writer knows, so an older holder never overwrites what a newer one wrote,
//     whatever messages are lost. One that finds a later record has lost the device, and is told so.
//   - What Store has answered is in the bucket, and whoever takes the device gets it, unless a newer holder has written since.
//   - One read or write of a device is on its way at a time. What comes meanwhile is covered by the next one.
//   - A device that nobody holds costs this process nothing. One that is held costs neither a goroutine nor a timer.
//
// A gateway that takes a device tells the others on jetwire.devices.taken ({"key","owner","taken"}), so that an older holder ends
// at once and not only with its next write. Nothing depends on that message. Clocks of gateways matter only to the order of holders
// of a device whose record was deleted meanwhile.
//
// The package must know nothing of sockets, sessions, the wire protocol, or of what the positions are of.
//
// All decisions are taken by one goroutine, Store.run, which owns the cells and calls everything that is called back; others leave
// it functions to run. The only lock, Store.mu, is held for an append or a look at a map.
package devices
