package streams

import (
	"os"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/jetwire/jetwire/streams/natstest"
)

// A server that comes back with an older store gives sequences out again: positions from before are of another epoch,
// also for a gateway that starts afterwards.
func TestStreamGoesBack(t *testing.T) {
	dir, backup := t.TempDir(), t.TempDir()
	srv := natstest.RunWith(t, func(o *server.Options) { o.StoreDir = dir })
	r := rigOn(t, srv, nil)
	for _, body := range []string{"1", "2", "3"} {
		r.store("a.b", body)
	}
	srv.Shutdown()
	if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	srv.Restart()
	eventually(t, "the connection", r.log.Connected)
	store := func(body string) (a Ack) {
		t.Helper()
		eventually(t, "the message is stored", func() (ok bool) {
			var err error
			a, err = r.publish(Publication{Channel: "a.b", QoS: 2, ID: body, From: "alice", Body: []byte(body)})
			return err == nil
		})
		return a
	}
	before := store("4")
	r.atHead(r.stream("a.b"), store("5").Seq)
	srv.Shutdown()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	srv.Restart()
	s := r.stream("a.b")
	eventually(t, "another epoch", func() bool { return s.Epoch() != before.Epoch && r.log.Connected() })
	again := store("other")
	if again.Seq != before.Seq || again.Epoch == before.Epoch {
		t.Fatalf("%+v was followed by %+v", before, again)
	}
	if err := r.log.Close(); err != nil {
		t.Fatal(err)
	}
	r.open(nil)
	if epoch := r.stream("a.b").Epoch(); epoch != again.Epoch {
		t.Fatalf("after a new start the epoch is %s, not %s", epoch, again.Epoch)
	}
}
