package streams

// PageRequest asks for a part of a channel's past.
type PageRequest struct {
	Channel  string
	After    uint64 // exclusive
	Until    uint64 // inclusive; 0: the Head at the time of the call, which a later one is cut to as well
	Since    int64  // Unix ns, inclusive: only messages stored then or later; 0: not asked
	Limit    int    // messages; 0: DefaultPageLimit
	MaxBytes int    // of bodies, 0: no limit; at least one message is returned whatever its size
	Newest   bool   // newest first
}

// DefaultPageLimit is the limit of a PageRequest that names none.
const DefaultPageLimit = 100

// Page is the answer to a PageRequest.
//
// Oldest first: Messages ascend and hold every message of the channel in (After, Through]; if More, the next page asks with
// After: Through. A reader's position may move to Through also when Messages is empty.
// The first message's Prev is at most After, every other one's is the message before it.
//
// Newest first: Messages descend and hold every message of the channel in [Through, Until]; if More, the next page asks with Until: Through-1
// and the same After.
type Page struct {
	Messages []*Message
	Through  uint64
	More     bool // there is, or may be, more in the range asked for
	// LostFrom and LostTo are inclusive, 0 if nothing is lost: the log no longer holds all of this part of the range, and messages
	// of this channel may have been in it. Newest first, it is told with the page that reaches it.
	LostFrom, LostTo uint64
}
