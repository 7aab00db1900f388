package wire

import "hash/maphash"

// Names remembers recent names, so that one which comes again and again costs no string each time, and is one string for
// all who keep it. It is not for concurrent use; the zero Names is ready, and a nil one remembers nothing.
type Names struct {
	seed   maphash.Seed
	recent [256]string
	on     bool
}

// name returns b as a string, an older one if it is remembered.
func (n *Names) name(b []byte) string {
	if n == nil || len(b) == 0 {
		return string(b)
	}
	if !n.on {
		n.seed, n.on = maphash.MakeSeed(), true
	}
	slot := &n.recent[maphash.Bytes(n.seed, b)%uint64(len(n.recent))]
	if *slot != string(b) {
		*slot = string(b)
	}
	return *slot
}
