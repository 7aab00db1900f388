package session

import (
	"testing"
	"unsafe"
)

// TestSizeOfAnIdleSession: a session and its subscriptions wait for as long as their socket does. Go's allocator has a
// class of 64 bytes.
func TestSizeOfAnIdleSession(t *testing.T) {
	if n := unsafe.Sizeof(Session{}); n > 64 {
		t.Errorf("a Session takes %d bytes", n)
	}
	if n := unsafe.Sizeof(subscription{}); n > 64 {
		t.Errorf("a subscription takes %d bytes", n)
	}
}
