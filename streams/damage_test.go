package streams

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/jetwire/jetwire/streams/natstest"
)

// TestDamagedStore: a store that was damaged while its server was down comes back with messages missing and says nothing of it. Whoever
// needs them must be told.
func TestDamagedStore(t *testing.T) {
	const stored = 3000
	dir := t.TempDir()
	srv := natstest.RunWith(t, func(o *server.Options) { o.StoreDir = dir })
	noRing := func(o *Options) { o.RingBytes = 1 }
	r := rigOn(t, srv, noRing)
	for i := range stored {
		r.store([]string{"chat.a", "chat.b"}[i%2], strings.Repeat("x", 4<<10)) // JetStream's blocks have 8 MiB
	}
	if err := r.log.Close(); err != nil {
		t.Fatal(err)
	}
	srv.Shutdown()
	damage(t, filepath.Join(dir, "jetstream", "$G", "streams", "JW_chat", "msgs"))
	srv.Restart()
	r.got = nil
	r.open(noRing)
	s := r.stream("chat.a")
	if head := s.Head(); head != stored {
		t.Fatalf("the head is %d: the damage is another than this test means", head)
	}
	for _, name := range []string{"chat.a", "chat.b", "chat.*"} {
		got, lost := map[uint64]bool{}, map[uint64]bool{}
		for after := uint64(0); ; {
			p := r.page(s, PageRequest{Channel: name, After: after, Limit: 500})
			for _, m := range p.Messages {
				got[m.Seq] = true
			}
			for seq := p.LostFrom; seq <= p.LostTo && seq > 0; seq++ {
				lost[seq] = true
			}
			if after = p.Through; !p.More {
				break
			}
		}
		missing := 0
		for seq := uint64(1); seq <= stored; seq++ {
			if name != "chat.*" && (name == "chat.a") != (seq%2 == 1) || got[seq] {
				continue
			}
			if missing++; !lost[seq] {
				t.Fatalf("%s: %d is gone, and nobody said so", name, seq)
			}
		}
		if missing == 0 || len(got) == 0 {
			t.Fatalf("%s: %d missing, %d there: the damage is another than this test means", name, missing, len(got))
		}
		if lost[stored] {
			t.Errorf("%s: what is behind the damage is called lost", name)
		}
	}
}

// damage overwrites a part in the middle of a stream's first block, and removes what remembers the block's state.
func damage(t *testing.T, msgs string) {
	t.Helper()
	block := filepath.Join(msgs, "1.blk")
	f, err := os.OpenFile(block, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 4096), info.Size()/2); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(msgs, "index.db")); err != nil {
		t.Fatal(err)
	}
}
