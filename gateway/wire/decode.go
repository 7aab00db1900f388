package wire

import (
	"io"
	"math"
	"strconv"
)

// Limits of the codec that are not part of the grammar.
const (
	maxClient = 64
	maxCount  = math.MaxInt32 // of last and limit
)

// Decoder reads the commands of one text frame. They stand one after the other, with white space between them or none,
// in no enclosing array. The zero Decoder is at the end of an empty frame. It holds no buffer: it may live in a connection or be shared by a loop.
type Decoder struct {
	Names *Names // of channels; nil: none are remembered
	reader
}

// Reset begins a new frame. The frame must not change until the last command of it has been dealt with.
func (d *Decoder) Reset(frame []byte) { d.reader = reader{scanner: scanner{buf: frame}} }

// Rest returns what of the frame Next has not read.
func (d *Decoder) Rest() []byte { return d.buf[d.pos:] }

// Next reads the next command into c, and overwrites all of it. It returns
//   - nil, if the command is complete and every field within its grammar;
//   - an *Error, if this command is refused: its id, where it had one, is in c.ID, and Next goes on with the command behind it;
//   - an error that wraps ErrSyntax, if the frame cannot be read any further; c.ID is set if the id stood before the fault;
//   - io.EOF at the end of the frame.
func (d *Decoder) Next(c *Command) error {
	*c = Command{}
	d.refusal, d.where = nil, ""
	if d.fault != "" {
		return d.syntax()
	}
	if d.end() {
		return io.EOF
	}
	if d.peek() != '{' {
		d.fail("a command object was expected")
		return d.syntax()
	}
	hasID := false
	for ok := d.enter('}'); ok; ok = d.more('}') {
		key := d.name()
		if string(key) != "id" {
			d.command(key, c)
			continue
		}
		d.where = ""
		if hasID {
			d.refuse("id is given twice")
			d.skip()
			continue
		}
		hasID = true
		if c.ID = d.uint("id", math.MaxUint64); c.ID == 0 {
			d.refuse("id must not be 0")
		}
	}
	switch {
	case d.fault != "":
		return d.syntax()
	case c.Op == 0:
		d.refuse("no command is named")
	}
	if d.refusal != nil {
		return d.refusal
	}
	return nil
}

// command reads the body of the command that key names.
func (d *Decoder) command(key []byte, c *Command) {
	op := opOf(key)
	switch {
	case op == 0:
		if d.refusal == nil && d.fault == "" {
			d.refusal = UnknownCommand.With("no such command: " + quoted(key))
		}
		d.skip()
		return
	case c.Op != 0:
		d.where = ""
		d.refuse("more than one command is named")
		d.skip()
		return
	}
	c.Op, d.where = op, op.String()
	if d.peek() != '{' {
		d.refuse("it must be an object")
		d.skip()
		return
	}
	switch op {
	case OpConnect:
		d.connect(&c.Connect)
	case OpSubscribe:
		d.subscribe(&c.Subscribe)
	case OpUnsubscribe:
		d.unsubscribe(&c.Unsubscribe)
	case OpPublish:
		d.publish(&c.Publish)
	case OpAck:
		d.ack(&c.Ack)
	case OpHistory:
		d.history(&c.History)
	case OpCommand:
		d.task(&c.Task)
	case OpCall:
		d.call(&c.Call)
	case OpRenew:
		d.renew(&c.Renew)
	case OpPresence:
		d.presence(&c.Presence)
	case OpPing:
		for ok := d.enter('}'); ok; ok = d.more('}') {
			d.unknown(d.name())
		}
	}
}

func opOf(key []byte) Op {
	switch string(key) {
	case "connect":
		return OpConnect
	case "subscribe":
		return OpSubscribe
	case "unsubscribe":
		return OpUnsubscribe
	case "publish":
		return OpPublish
	case "ack":
		return OpAck
	case "history":
		return OpHistory
	case "ping":
		return OpPing
	case "command":
		return OpCommand
	case "call":
		return OpCall
	case "renew":
		return OpRenew
	case "presence":
		return OpPresence
	}
	return 0
}

// String returns the name that the command has in a frame.
func (o Op) String() string {
	switch o {
	case OpConnect:
		return "connect"
	case OpSubscribe:
		return "subscribe"
	case OpUnsubscribe:
		return "unsubscribe"
	case OpPublish:
		return "publish"
	case OpAck:
		return "ack"
	case OpHistory:
		return "history"
	case OpPing:
		return "ping"
	case OpCommand:
		return "command"
	case OpCall:
		return "call"
	case OpRenew:
		return "renew"
	case OpPresence:
		return "presence"
	}
	return "op " + strconv.Itoa(int(o))
}

// quoted shows a name that a client sent, cut to a length that fits an error message.
func quoted(key []byte) string { return strconv.Quote(string(key[:min(len(key), 32)])) }
