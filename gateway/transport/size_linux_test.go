package transport

import (
	"testing"
	"unsafe"
)

// TestSizeOfAnIdleSocket: an idle socket is one fdConn, a pointer and a byte. Go's allocator has a class of 128 bytes, and
// the next is 144; with the collector's headroom each byte costs two.
func TestSizeOfAnIdleSocket(t *testing.T) {
	if n := unsafe.Sizeof(fdConn{}); n > 128 {
		t.Errorf("an fdConn takes %d bytes", n)
	}
}
