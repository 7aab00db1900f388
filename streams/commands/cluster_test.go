package commands

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/dead"
	"github.com/jetwire/jetwire/streams/natstest"
)

// cluster starts three servers.
func cluster(t *testing.T) (servers []*natstest.Server, urls string) {
	t.Helper()
	var ports []int
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		_ = l.Close()
	}
	var routes []*url.URL
	for _, p := range ports {
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", p)})
	}
	var all []string
	for i, p := range ports {
		s := natstest.RunWith(t, func(o *server.Options) {
			o.ServerName = fmt.Sprint("n", i)
			o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: p}
			o.Routes = routes
		})
		servers, all = append(servers, s), append(all, s.URL())
	}
	until(t, "the cluster has a leader", func() bool {
		return slices.ContainsFunc(servers, func(s *natstest.Server) bool { return len(s.NATS().JetStreamClusterPeers()) == 3 })
	})
	return servers, strings.Join(all, ",")
}

// TestReplicated: on three servers, of which one is lost, commands are stored once, come again, and become dead letters.
func TestReplicated(t *testing.T) {
	servers, urls := cluster(t)
	connect := func(name string, extra ...nats.Option) (*nats.Conn, error) {
		return nats.Connect(urls, append(extra, nats.Name(name), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0))...)
	}
	var queues []*Queue
	for range 2 {
		q, err := Open(t.Context(), Options{Connect: connect, Replicas: 3, Dead: dead.Options{Replicas: 3}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = q.Close() })
		queues = append(queues, q)
	}
	nc, err := connect("test", nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c := consumer(t, js, "billing.*", func(c *jetstream.ConsumerConfig) { c.AckWait, c.MaxDeliver = 200*time.Millisecond, 10 })
	command := func(id string) Command {
		return Command{Destination: "billing.refund", ID: id, From: "alice", Body: []byte(id)}
	}
	for i := range 10 {
		if r := queues[i%2].mustPut(t, command(fmt.Sprint(i))); r.Duplicate || r.Durability != "replicated" {
			t.Errorf("%+v", r)
		}
	}
	servers[2].Shutdown()
	for i := range 10 {
		until(t, "commands are stored with two servers", func() bool {
			r, err := queues[i%2].put(t, command(fmt.Sprint(i)))
			if err == nil && (!r.Duplicate || r.Seq != uint64(i+1)) {
				t.Fatalf("%d was stored again: %+v", i, r)
			}
			return err == nil
		})
	}
	handled := map[string]bool{}
	until(t, "all but one are handled", func() bool {
		batch, err := c.Fetch(20, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return false
		}
		for m := range batch.Messages() {
			if string(m.Data()) != "7" && m.DoubleAck(t.Context()) == nil {
				handled[string(m.Data())] = true
			}
		}
		return len(handled) == 9
	})
	until(t, "the letter is there", func() bool {
		batch, err := c.Fetch(1, jetstream.FetchMaxWait(time.Second))
		if err == nil {
			for range batch.Messages() {
			}
		}
		st, err := js.Stream(t.Context(), dead.Stream)
		return err == nil && st.CachedInfo().State.Msgs == 1
	})
	until(t, "the queue is empty", func() bool {
		st, err := js.Stream(t.Context(), Stream)
		return err == nil && st.CachedInfo().State.Msgs == 0
	})
}
