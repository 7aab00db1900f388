package transport

import (
	"runtime"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// A socket that waits holds a small buffer to read into, and not what joins frames: that was 128 KiB each.
func TestIdlePortableSocketIsSmall(t *testing.T) {
	s := serve(t, Options{Portable: true})
	const sockets = 60 // as many as running.conns takes
	before := heap()
	for range sockets {
		conn := dial(t, s.addr)
		if err := wsutil.WriteClientMessage(conn, ws.OpText, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := wsutil.ReadServerData(conn); err != nil {
			t.Fatal(err)
		}
	}
	if each := (heap() - before) / sockets; each > 32<<10 {
		t.Errorf("%d bytes each", each)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // pools give up what they hold at the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
