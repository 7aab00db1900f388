package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jetwire/jetwire/bench/report"
)

// ErrWorker is returned when a load process could not do its part.
var ErrWorker = errors.New("bench: a load process failed")

const maxProcesses = 200

// crew is the load processes that hold a flow's subscribers, a part each.
type crew struct {
	flow    *flow
	members []*member
	joined  int
	closed  atomic.Bool // their ends are no failures any more
}

// member is one load process.
type member struct {
	name     string
	cmd      *exec.Cmd
	in       io.WriteCloser
	outcomes chan outcome
	said     tailBuffer    // on its standard error
	ended    chan struct{} // closed once it has, and all it said was read

	arrived int64 // owned by read

	mu  sync.Mutex
	why error // it is of no use any more
}

// processes is how many load processes so many sockets need beside this one: 0 if this one can hold them all.
func (l *Load) processes(sockets int) (n int, why string, err error) {
	limit, err := fileLimit()
	if err != nil {
		return 0, "", err
	}
	n = l.Processes
	if least := (sockets + limit - otherFiles - 1) / (limit - otherFiles); least > max(n, 1) && len(l.Worker) > 0 {
		n, why = least, fmt.Sprintf("%d sockets are more than one process may have files (%d, ulimit -n): %d load processes share them", sockets, limit, least)
	}
	if n <= 1 {
		return 0, "", nil
	}
	if len(l.Worker) == 0 || n > maxProcesses {
		return 0, "", fmt.Errorf("%w: %d processes, at most %d", ErrWorker, n, maxProcesses)
	}
	return n, why, nil
}

// staff readies the flow for so many subscribers: in load processes if one process may not hold them, or several were asked for; otherwise
// here, with loops that have such sinks. publishers are the sockets that this process has besides.
func (f *flow) staff(ctx context.Context, r *report.Report, sockets, publishers int, newSink func() sink) error {
	l := f.load
	n, why, err := l.processes(sockets + publishers)
	if err != nil {
		return err
	}
	if n == 0 {
		if err := f.fleet.reserve(sockets + publishers); err != nil {
			return err
		}
		return f.fleet.open(newSink)
	}
	if f.user != nil {
		return fmt.Errorf("%w: durable sockets are only to be had in one process: leave --processes out, and ask for fewer sockets", ErrWorker)
	}
	if why != "" {
		l.Progress(why)
		r.Note("%s", why)
	}
	r.Processes = n
	if err := f.fleet.reserveOf(publishers, sockets+publishers); err != nil {
		return err
	}
	return f.hire(ctx, n, sockets)
}

// hire starts n load processes.
func (f *flow) hire(ctx context.Context, n, sockets int) error {
	l := f.load
	f.crew = &crew{flow: f}
	each := (sockets + n - 1) / n
	s := start{
		Token: l.Target.Token, Protocol: l.Target.Protocol, QoS: f.fleet.qos, Channels: len(f.channels), Prefix: f.prefix, Own: f.own, Lenient: f.fleet.lenient,
		Loops: l.Loops, Ahead: l.Ahead, OneByOne: l.OneByOne, Sockets: each, Sources: l.Sources,
		Mark: max(1, int64(f.quarter)*int64(f.members)/int64(n)),
	}
	if s.Loops == 0 {
		s.Loops = 1
	}
	for _, t := range f.fleet.gates {
		s.URLs = append(s.URLs, t.URL)
	}
	for i := range n {
		m, err := f.crew.startMember(i)
		if err != nil {
			return err
		}
		f.crew.members = append(f.crew.members, m)
	}
	return f.crew.each(ctx, func(i int) order {
		s := s
		s.Net = byte(i + 1)
		return order{Start: &s}
	}, nil)
}

func (c *crew) startMember(i int) (*member, error) {
	words := c.flow.load.Worker
	m := &member{name: fmt.Sprintf("load process %d", i+1), cmd: exec.Command(words[0], words[1:]...), outcomes: make(chan outcome, 1), ended: make(chan struct{})}
	in, err := m.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	m.in, m.cmd.Stderr = in, &m.said
	dieWithParent(m.cmd)
	started := make(chan error, 1)
	go func() {
		lockForParentDeath()
		err := m.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		m.read(out, c.flow)
		if err = m.cmd.Wait(); err == nil {
			err = io.EOF
		}
		m.fail(fmt.Errorf("%w: %s ended: %w: %s", ErrWorker, m.name, err, m.said.text()))
		if !c.closed.Load() {
			c.flow.fleet.fail(m.failure())
		}
		close(m.ended)
	}()
	return m, <-started
}

// read passes on what the process says, until it says no more.
func (m *member) read(out io.Reader, f *flow) {
	said := lines(out)
	for said.Scan() {
		var x outcome
		if err := decodeLine(said.Bytes(), &x); err != nil {
			m.fail(fmt.Errorf("%w: %s: %w", ErrWorker, m.name, err))
			break
		}
		if !x.Done {
			f.arrive(int(x.Arrived - m.arrived))
			f.fleet.remote.Add(x.Arrived - m.arrived)
			m.arrived = x.Arrived
			continue
		}
		m.outcomes <- x // there is room: one order is under way at a time
	}
	_, _ = io.Copy(io.Discard, out)
}

func (m *member) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.why == nil {
		m.why = err
	}
}

func (m *member) failure() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.why
}

// each gives every process an order and hands each outcome to take, which may be nil.
func (c *crew) each(ctx context.Context, give func(i int) order, take func(x *outcome)) error {
	for i, m := range c.members {
		if err := writeLine(m.in, give(i)); err != nil {
			<-m.ended // it only refuses to listen when it has ended
			return m.failure()
		}
	}
	var errs []error
	for _, m := range c.members {
		select {
		case x := <-m.outcomes:
			if x.Error != "" {
				errs = append(errs, fmt.Errorf("%w: %s: %s", ErrWorker, m.name, x.Error))
			} else if take != nil {
				take(&x)
			}
		case <-m.ended:
			errs = append(errs, m.failure())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return errors.Join(errs...)
}

func (c *crew) open(ctx context.Context, o opening) (opened, error) {
	all := opened{Took: report.NewHistogram()}
	n := len(c.members)
	err := c.each(ctx, func(i int) order {
		part := o
		part.From, part.Step = o.From+i*o.Step, o.Step*n
		part.Rate = o.Rate / float64(n)
		if part.Ahead > 0 {
			part.Ahead = max(1, o.Ahead/n)
		}
		if o.Rate > 0 {
			part.Start += int64(float64(i) / o.Rate * 1e9)
		}
		return order{Open: &part}
	}, func(x *outcome) { all.add(x.Opened) })
	c.flow.fleet.standing.Add(int64(all.Joined))
	c.joined += all.Joined
	return all, err
}

func (c *crew) edge(ctx context.Context) (all edge, err error) {
	err = c.each(ctx, func(int) order { return order{Edge: true} }, func(x *outcome) {
		all.Delivered += x.Edge.Delivered
		all.Busy = append(all.Busy, x.Edge.Busy...)
		all.CPU += x.Edge.CPU
	})
	return all, err
}

func (c *crew) judge(ctx context.Context, p *published) (all findings, err error) {
	all.Took = report.NewHistogram()
	err = c.each(ctx, func(int) order { return order{Judge: p} }, func(x *outcome) { all.add(x.Findings) })
	return all, err
}

// close ends the processes and waits for them.
func (c *crew) close() {
	c.closed.Store(true)
	for _, m := range c.members {
		_ = m.cmd.Process.Kill() // it holds nothing that would have to be saved
		<-m.ended
		_ = m.in.Close()
	}
}

// tailBuffer keeps the end of what is written to it.
type tailBuffer struct {
	mu   sync.Mutex
	last []byte
}

func (b *tailBuffer) Write(p []byte) (int, error) {
	const most = 4 << 10
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = append(b.last, p...)
	if over := len(b.last) - most; over > 0 {
		b.last = b.last[:copy(b.last, b.last[over:])]
	}
	return len(p), nil
}

func (b *tailBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.TrimSpace(string(b.last))
}
