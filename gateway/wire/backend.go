package wire

import (
	"math"
	"strconv"
)

// What clients send to backends: the commands `command`, which is stored until a backend has handled it, and `call`, which a backend
// answers. Their destinations have the grammar of channels.

// MaxCallTimeout is the longest time for which a call may be asked to wait, in seconds.
const MaxCallTimeout = 3600

// Task is the command `command`: work for a backend, stored until one has done it.
type Task struct {
	Destination string
	Data        []byte // as in Publish
	Encoding    Encoding
	ID          string // empty: none
}

// Call asks a backend, and waits for its answer.
type Call struct {
	Destination string
	Data        []byte // as in Publish
	Encoding    Encoding
	ID          string  // handed on to the backend; empty: none
	Timeout     float64 // seconds; 0: the server's default
}

// TaskReply answers `command`: it is stored.
type TaskReply struct {
	Destination string `json:"destination"`
	Seq         uint64 `json:"seq"`
	Duplicate   bool   `json:"duplicate"`
	Durability  string `json:"durability"` // as in PublishReply
}

// CallReply is what the backend answered.
type CallReply struct {
	Destination string   `json:"destination"`
	Body        []byte   `json:"-"` // exactly what the backend sent
	Encoding    Encoding `json:"-"`
}

func (d *Decoder) task(c *Task) {
	var seen fields
	for ok := d.enter('}'); ok; ok = d.more('}') {
		if key := d.name(); !d.backendField(key, &seen, &c.Destination, &c.Data, &c.Encoding, &c.ID) {
			d.unknown(key)
		}
	}
	d.backendFields(seen, c.Data, c.Encoding)
}

func (d *Decoder) call(c *Call) {
	const timeout = 4
	var seen fields
	for ok := d.enter('}'); ok; ok = d.more('}') {
		switch key := d.name(); {
		case d.backendField(key, &seen, &c.Destination, &c.Data, &c.Encoding, &c.ID):
		case string(key) != "timeout":
			d.unknown(key)
		case d.first(&seen, timeout, "timeout"):
			if c.Timeout = d.float("timeout"); c.Timeout == 0 || c.Timeout > MaxCallTimeout {
				d.refuse("timeout must be more than 0 and at most 3600 seconds")
			}
		}
	}
	d.backendFields(seen, c.Data, c.Encoding)
}

// backendField reads one of the fields that both commands have, or reports that key names none.
func (d *Decoder) backendField(key []byte, seen *fields, destination *string, data *[]byte, e *Encoding, id *string) bool {
	switch string(key) {
	case "destination":
		if d.first(seen, 0, "destination") {
			*destination = d.destination()
		}
	case "data":
		if d.first(seen, 1, "data") {
			*data = d.skip()
		}
	case "encoding":
		if d.first(seen, 2, "encoding") {
			*e = d.encoding()
		}
	case "id":
		if d.first(seen, 3, "id") {
			*id = d.printable("id", MaxID)
		}
	default:
		return false
	}
	return true
}

func (d *Decoder) backendFields(seen fields, data []byte, e Encoding) {
	d.must(seen, 0, "destination")
	d.must(seen, 1, "data")
	if e != JSON && len(data) > 0 && data[0] != '"' {
		d.refuse("data must be a string where an encoding is given")
	}
}

// destination reads the name of a backend's destination.
func (d *Decoder) destination() string {
	s := d.Names.name(d.bytes("destination", 6*MaxChannel))
	if d.refusal == nil && d.fault == "" {
		if why := checkSubject(s, false); why != "" {
			d.refusal = BadChannel.With("destination: " + why)
		}
	}
	return s
}

// ValidDestination checks the name of a destination, which has the grammar of channels; what it returns is nil or an *Error with BadChannel.
func ValidDestination(s string) error {
	if why := checkSubject(s, false); why != "" {
		return BadChannel.With("destination: " + why)
	}
	return nil
}

// AppendTask appends `command`. Data is the JSON value that carries the body: see AppendTaskBody.
func AppendTask(dst []byte, id uint64, c *Task) []byte {
	dst = appendBackend(head(dst, id, "command"), c.Destination)
	dst = append(dst, c.Data...)
	return tail(appendBackendTail(dst, c.Encoding, c.ID))
}

// AppendTaskBody appends `command` with this body, encoded as EncodingOf says; Data and Encoding of c are not looked at.
func AppendTaskBody(dst []byte, id uint64, c *Task, body []byte) []byte {
	e := EncodingOf(body)
	dst = appendBackend(head(dst, id, "command"), c.Destination)
	dst = AppendData(dst, body, e)
	return tail(appendBackendTail(dst, e, c.ID))
}

// AppendCall appends a call. Data is the JSON value that carries the body: see AppendCallBody.
func AppendCall(dst []byte, id uint64, c *Call) []byte {
	dst = appendBackend(head(dst, id, "call"), c.Destination)
	dst = append(dst, c.Data...)
	return tail(appendTimeout(appendBackendTail(dst, c.Encoding, c.ID), c.Timeout))
}

// AppendCallBody appends a call with this body, encoded as EncodingOf says; Data and Encoding of c are not looked at.
func AppendCallBody(dst []byte, id uint64, c *Call, body []byte) []byte {
	e := EncodingOf(body)
	dst = appendBackend(head(dst, id, "call"), c.Destination)
	dst = AppendData(dst, body, e)
	return tail(appendTimeout(appendBackendTail(dst, e, c.ID), c.Timeout))
}

func appendBackend(dst []byte, destination string) []byte {
	return append(appendText(dst, `"destination":`, destination), `,"data":`...)
}

func appendBackendTail(dst []byte, e Encoding, id string) []byte {
	dst = appendEncoding(dst, e)
	if id != "" {
		dst = appendText(dst, `,"id":`, id)
	}
	return dst
}

func appendTimeout(dst []byte, seconds float64) []byte {
	if seconds > 0 {
		dst = appendSeconds(dst, `,"timeout":`, seconds)
	}
	return dst
}

// AppendTaskReply appends the answer to `command`.
func AppendTaskReply(dst []byte, id uint64, r *TaskReply) []byte {
	dst = appendText(head(dst, id, "command"), `"destination":`, r.Destination)
	dst = appendUint(dst, `,"seq":`, r.Seq)
	dst = append(dst, `,"duplicate":`...)
	dst = strconv.AppendBool(dst, r.Duplicate)
	dst = appendText(dst, `,"durability":`, r.Durability)
	return tail(dst)
}

// AppendCallReply appends the answer to a call. Encoding must be set to what EncodingOf says of the body.
func AppendCallReply(dst []byte, id uint64, r *CallReply) []byte {
	dst = appendBackend(head(dst, id, "call"), r.Destination)
	dst = AppendData(dst, r.Body, r.Encoding)
	return tail(appendEncoding(dst, r.Encoding))
}

func (r *serverReader) taskField(c *TaskReply, key []byte) bool {
	switch string(key) {
	case "destination":
		c.Destination = r.shared("destination")
	case "seq":
		c.Seq = r.uint("seq", math.MaxUint64)
	case "duplicate":
		c.Duplicate = r.bool("duplicate")
	case "durability":
		c.Durability = r.shared("durability")
	default:
		return false
	}
	return true
}

// callReply reads the answer to a call, whose body may alias the frame.
func (r *serverReader) callReply(c *CallReply) {
	*c = CallReply{}
	var data []byte
	for ok := r.enter('}'); ok; ok = r.more('}') {
		switch string(r.name()) {
		case "destination":
			c.Destination = r.shared("destination")
		case "data":
			data = r.skip()
		case "encoding":
			c.Encoding = r.encoding()
		default:
			r.skip()
		}
	}
	c.Body = r.body(data, c.Encoding, "an answer to a call")
}
