package main

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// printed returns "channel data" of each message line, sorted: channels have no order among each other.
func printed(t *testing.T, p *process) (got []string) {
	t.Helper()
	for _, l := range p.out.lines() {
		m := message(t, l)
		got = append(got, strings.TrimSpace(m.Pattern+" "+m.Channel+" "+string(m.Data)))
	}
	slices.Sort(got)
	return got
}

// A device goes on where it was without naming channels, with what came meanwhile, in whatever process.
func TestSubAsADevice(t *testing.T) {
	dir := t.TempDir()
	_, a := serve(t, dir)
	url := "--url=" + a.URL
	sub := start(t, dir, "sub", "--device", "laptop", "chat.lobby", "orders.*.status", "--count", "2", url)
	for _, s := range []string{"does not know the device laptop", "subscribed to chat.lobby", "subscribed to orders.*.status", "subscribed to user.alice"} {
		sub.says(s)
	}
	do(t, dir, 0, "pub", "chat.lobby", "1", url)
	do(t, dir, 0, "pub", "orders.7.status", "2", url)
	if code := sub.end(); code != 0 {
		t.Errorf("sub: %d", code)
	}
	if got, want := printed(t, sub), []string{"chat.lobby 1", "orders.*.status orders.7.status 2"}; !slices.Equal(got, want) {
		t.Errorf("printed %q, want %q", got, want)
	}
	do(t, dir, 0, "pub", "chat.lobby", "3", url)
	do(t, dir, 0, "pub", "orders.8.status", "4", url)
	do(t, dir, 0, "pub", "orders.8.items", "5", url)
	shop := do(t, dir, 0, "token", "--user", "shop", "--publish", "user.*")[0]
	do(t, dir, 0, "pub", "user.alice", "6", url, "--token", shop)
	sub = start(t, dir, "sub", "--device", "laptop", "--count", "3", url)
	if code := sub.end(); code != 0 {
		t.Errorf("sub: %d", code)
	}
	if got, want := printed(t, sub), []string{"chat.lobby 3", "orders.*.status orders.8.status 4", "user.alice 6"}; !slices.Equal(got, want) {
		t.Errorf("printed %q, want %q", got, want)
	}
	sub.says("goes on with chat.lobby, orders.*.status, user.alice")
	sub = start(t, dir, "sub", "--device", "laptop", url)
	sub.says("subscribed to user.alice")
	do(t, dir, 0, "pub", "chat.lobby", "7", url)
	sub.wait("7", func() bool { return len(sub.out.lines()) == 1 })
	if got := printed(t, sub); got[0] != "chat.lobby 7" {
		t.Errorf("printed %q", got)
	}
	// One process at a time.
	newer := start(t, dir, "sub", "--device", "laptop", url)
	newer.says("subscribed to user.alice")
	if code := sub.end(); code != exitFailure || !strings.Contains(sub.errs.String(), "taken_over") {
		t.Errorf("%d: %s", code, &sub.errs)
	}
	if code := interrupt(newer); code != exitInterrupted || len(newer.out.lines()) != 0 {
		t.Errorf("%d: %s", code, &newer.out)
	}
}

// Killed between printing and acknowledging, or together with the server, a device prints everything, and in order.
func TestSubIsKilled(t *testing.T) {
	dir := t.TempDir()
	server, a := serve(t, dir)
	sub := start(t, dir, "sub", "--device", "laptop", "chat.lobby", "--url", a.URL)
	sub.says("subscribed to chat.lobby")
	const n = 400
	next := 0 // the number that has not been printed
	for round := range 4 {
		pub := start(t, dir, "pub", "chat.lobby", "-", "--url", a.URL)
		for i := range n / 8 {
			fmt.Fprintln(pub.in, round*n/4+i)
		}
		sub.wait("some lines", func() bool { return len(sub.out.lines()) >= 10+round*7 })
		kill(sub)
		for i := range n / 8 {
			fmt.Fprintln(pub.in, round*n/4+n/8+i)
		}
		pub.in.Close()
		if code := pub.end(); code != 0 {
			t.Fatalf("pub: %d", code)
		}
		next = inOrder(t, sub, next)
		if round%2 == 0 {
			server.signal(syscall.SIGKILL)
			server.end()
			server, a = serve(t, dir)
		}
		sub = start(t, dir, "sub", "--device", "laptop", "--url", a.URL)
		sub.says("goes on with chat.lobby")
		last := fmt.Sprint((round+1)*n/4 - 1)
		sub.wait("the rest", func() bool {
			l := sub.out.lines()
			return len(l) > 0 && string(message(t, l[len(l)-1]).Data) == last
		})
		next = inOrder(t, sub, next)
		kill(sub)
		sub = start(t, dir, "sub", "--device", "laptop", "--url", a.URL)
		sub.says("goes on with chat.lobby")
	}
	if next != n {
		t.Errorf("%d of %d were printed", next, n)
	}
}

// inOrder checks that a process printed numbers one behind the other, none of which was passed over. It returns the one that comes next.
func inOrder(t *testing.T, p *process, next int) int {
	t.Helper()
	before := -1
	for _, l := range p.out.lines() {
		var i int
		if _, err := fmt.Sscan(string(message(t, l).Data), &i); err != nil {
			t.Fatal(err)
		}
		if before >= 0 && i != before+1 || i > next {
			t.Fatalf("%d was printed behind %d, want no more than %d", i, before, next)
		}
		before, next = i, max(next, i+1)
	}
	return next
}
