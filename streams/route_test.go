package streams

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/streams/natstest"
	"github.com/jetwire/jetwire/streams/tap"
)

// TestTaken: acknowledgements, the tail and reads are taken off the connections where that can be, and come by nats.go under TLS.
func TestTaken(t *testing.T) {
	const count = 10
	secure, client := certificates(t)
	for _, c := range []struct {
		name  string
		taken bool
		serve func(*server.Options)
		opts  []nats.Option
	}{
		{"plain", true, func(*server.Options) {}, nil},
		{"TLS", false, func(o *server.Options) { o.TLSConfig, o.TLSTimeout = secure, 5 }, []nats.Option{nats.Secure(client)}},
		{"TLS first", false, func(o *server.Options) { o.TLSConfig, o.TLSHandshakeFirst, o.TLSTimeout = secure, true, 5 },
			[]nats.Option{nats.Secure(client), nats.TLSHandshakeFirst()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := natstest.RunWith(t, c.serve)
			r := rigOn(t, srv, func(o *Options) {
				o.RingBytes = 1
				o.Connect = func(name string, extra ...nats.Option) (*nats.Conn, error) {
					return srv.Connect(name, slices.Concat(c.opts, extra)...)
				}
			})
			s := r.stream("chat.x")
			for range count {
				r.store("chat.x", "body")
			}
			r.atHead(s, count)
			for i, m := range r.page(s, PageRequest{Channel: "chat.x"}).Messages {
				if d := r.delivered()[i]; m.Seq != uint64(i+1) || m.From != "alice" || string(m.Body) != "body" || m.Time != d.Time || d.From != "alice" || d.Channel != "chat.x" {
					t.Fatalf("%+v, delivered %+v", m, d)
				}
			}
			for name, l := range map[string]*conn{"publish": r.log.publish, "reads": r.log.reads} {
				if n := l.Stats().InMsgs; (n < count) != c.taken {
					t.Errorf("%s: nats.go has received %d messages", name, n)
				}
			}
			s.tail.mu.Lock()
			defer s.tail.mu.Unlock()
			if n, err := s.tail.feed.inbox.sub.Delivered(); err != nil || (n < count) != c.taken {
				t.Errorf("nats.go has delivered %d messages of the tail, %v", n, err)
			}
		})
	}
}

// certificates returns what a server at 127.0.0.1 shows, and who believes it.
func certificates(t *testing.T) (srv, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: pool}
}

// counting counts what it takes.
type counting struct{ taken int }

func (c *counting) take(*tap.Message) { c.taken++ }
func (c *counting) rest()             {}

// TestNothingAfterClose: nats.go does not wait for the goroutine that reads, which may have found a receiver already.
func TestNothingAfterClose(t *testing.T) {
	var l conn
	var to counting
	r := &route{to: &to}
	m := &tap.Message{Subject: []byte("_INBOX.x.1")}
	l.routes.set(r, "_INBOX.x.")
	if !l.Take(m) || to.taken != 1 {
		t.Fatalf("taken %d", to.taken)
	}
	l.routes.end()
	r.take(m)
	if l.Take(m) || to.taken != 1 {
		t.Errorf("taken %d after the end", to.taken)
	}
	l.Rest()
	l.routes.end()
}
