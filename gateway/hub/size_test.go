package hub

import (
	"testing"
	"unsafe"
)

// TestSizeOfACursor: every subscription of every socket has one, and Go's allocator has a class of 80 bytes.
func TestSizeOfACursor(t *testing.T) {
	if n := unsafe.Sizeof(Cursor{}); n > 80 {
		t.Errorf("a Cursor takes %d bytes", n)
	}
}
