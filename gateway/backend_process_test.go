package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/jetwire/jetwire/gateway/client"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/natstest"
)

// backendVariable makes this test's binary a backend: a process of its own that knows nats.go and nothing of Jetwire's.
const backendVariable = "JETWIRE_TEST_BACKEND"

func init() {
	if url := os.Getenv(backendVariable); url != "" {
		if err := runBackend(url, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// runBackend serves the calls and handles the commands of the namespace billing, until its input ends. What a command asks for is to be
// written in the ledger, under the sender and the id. A command that says hold is held for ever, the first time that it comes.
func runBackend(url string, in io.Reader, out io.Writer) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	svc, err := micro.AddService(nc, micro.Config{Name: "billing", Version: "1.0.0"})
	if err != nil {
		return err
	}
	for name, handle := range map[string]micro.HandlerFunc{
		"quote": func(r micro.Request) {
			_ = r.Respond([]byte(`{"price":12,"for":"` + r.Headers().Get("Jw-From") + `"}`))
		},
		"sell": func(r micro.Request) { _ = r.Error("409", "sold out", nil) },
		"hang": func(micro.Request) { fmt.Fprintln(out, "hanging") },
	} {
		if err := svc.AddEndpoint(name, handle, micro.WithEndpointSubject("jetwire.call.billing."+name)); err != nil {
			return err
		}
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	consumer, err := js.CreateOrUpdateConsumer(context.Background(), "jetwire_commands", jetstream.ConsumerConfig{
		Durable: "billing", FilterSubject: "jetwire.command.billing.>", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second, MaxDeliver: 5,
	})
	if err != nil {
		return err
	}
	work, err := consumer.Consume(func(m jetstream.Msg) {
		meta, err := m.Metadata()
		if err != nil {
			return
		}
		if string(m.Data()) == "hold" && meta.NumDelivered == 1 {
			fmt.Fprintln(out, "holding")
			select {}
		}
		id := m.Headers().Get("Jw-From") + "/" + m.Headers().Get("Jw-Id")
		if _, err := js.Publish(context.Background(), "ledger."+m.Headers().Get("Jw-Id"), m.Data(), jetstream.WithMsgID(id)); err == nil {
			_ = m.Ack()
		}
	})
	if err != nil {
		return err
	}
	defer work.Stop()
	fmt.Fprintln(out, "ready")
	_, err = io.Copy(io.Discard, in)
	return err
}

// process is a backend that runs.
type process struct {
	cmd  *exec.Cmd
	in   io.Closer
	says *bufio.Scanner
	t    *testing.T
}

func startBackend(t *testing.T, ns *natstest.Server) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0]), t: t}
	p.cmd.Env = append(os.Environ(), backendVariable+"="+ns.URL())
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	p.says = bufio.NewScanner(out)
	p.waitFor("ready")
	return p
}

func (p *process) waitFor(line string) {
	p.t.Helper()
	for p.says.Scan() {
		if p.says.Text() == line {
			return
		}
	}
	p.t.Fatalf("the backend has ended and did not say %q", line)
}

// kill ends the process as a crash would.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// TestBackendIsKilled: a backend written with nats.go alone is killed while it has commands in hand and a call to answer. The call ends with
// an error that says so; of the commands not one is lost, and each is handled once by the backend that comes after it.
func TestBackendIsKilled(t *testing.T) {
	ns := natstest.Run(t)
	g := start(t, ns, nil)
	js, err := jetstream.New(ns.Conn())
	if err != nil {
		t.Fatal(err)
	}
	ledger, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ledger", Subjects: []string{"ledger.>"}, MaxMsgsPerSubject: -1})
	if err != nil {
		t.Fatal(err)
	}
	queue, err := js.Stream(t.Context(), "jetwire_commands")
	if err != nil {
		t.Fatal(err)
	}
	alice := g.dial("alice")
	first := startBackend(t, ns)
	if answer, err := alice.Call(t.Context(), "billing.quote", []byte(`{"order":1}`), client.CallOptions{}); err != nil || string(answer) != `{"price":12,"for":"alice"}` {
		t.Fatalf("%s, %v", answer, err)
	}
	var refused *wire.Error
	if _, err := alice.Call(t.Context(), "billing.sell", []byte("1"), client.CallOptions{}); !errors.As(err, &refused) || refused.Code != wire.Refused || refused.Message != "409: sold out" {
		t.Fatal(err)
	}
	const n = 100
	for i := range n {
		body := "work"
		if i == n/2 {
			body = "hold"
		}
		if _, err := alice.Command(t.Context(), "billing.refund", []byte(body), client.CommandOptions{ID: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	first.waitFor("holding")
	hanging := make(chan error, 1)
	go func() {
		_, err := alice.Call(t.Context(), "billing.hang", []byte("1"), client.CallOptions{Timeout: time.Second})
		hanging <- err
	}()
	first.waitFor("hanging")
	first.kill()
	if err := <-hanging; !errors.Is(err, client.ErrOutcomeUnknown) || !errors.As(err, &refused) || refused.Code != wire.Timeout {
		t.Errorf("the call in flight ended with %v", err)
	}
	if _, err := alice.Call(t.Context(), "billing.quote", []byte("1"), client.CallOptions{}); !errors.As(err, &refused) || refused.Code != wire.NoService {
		t.Errorf("a call that nobody is there for ended with %v", err)
	}
	if _, err := alice.Command(t.Context(), "billing.refund", []byte("work"), client.CommandOptions{ID: "last"}); err != nil {
		t.Errorf("a command that nobody is there for: %v", err)
	}
	startBackend(t, ns)
	eventually(t, "all commands to be handled", func() bool {
		info, err := queue.Info(t.Context())
		return err == nil && info.State.Msgs == 0 && info.State.LastSeq == n+1
	})
	info, err := ledger.Info(t.Context(), jetstream.WithSubjectFilter("ledger.>"))
	if err != nil || info.State.Msgs != n+1 || len(info.State.Subjects) != n+1 {
		t.Errorf("%d commands, %d of them different, were handled, of %d: %v", info.State.Msgs, len(info.State.Subjects), n+1, err)
	}
	if dead, err := js.Stream(t.Context(), "jetwire_dead"); err != nil || dead.CachedInfo().State.Msgs != 0 {
		t.Errorf("dead letters: %v", err)
	}
}
