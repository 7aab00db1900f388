package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/jetwire/jetwire/gateway/wire"
)

// maxLine bounds one line between the run and one of its load processes: the largest is a histogram.
const maxLine = 8 << 20

var errOrder = errors.New("bench: not an order to a load process")

// order is one line to a load process: one of its fields is set. It is answered by one outcome, in the order of the orders.
type order struct {
	Start *start     `json:"start,omitempty"` // the first
	Open  *opening   `json:"open,omitempty"`
	Span  *[2]int64  `json:"span,omitempty"` // latencies of messages sent between them count
	Edge  bool       `json:"edge,omitempty"`
	Judge *published `json:"judge,omitempty"`
	Leave bool       `json:"leave,omitempty"` // all sockets close
}

// start tells a load process what all its sockets have in common.
type start struct {
	URLs     []string `json:"urls"`
	Protocol Protocol `json:"protocol,omitempty"`
	Token    string   `json:"token"`
	QoS      wire.QoS `json:"qos"`
	Channels int      `json:"channels"`
	Prefix   string   `json:"prefix"`        // of their names, which a number follows
	Own      string   `json:"own,omitempty"` // of the names of channels for one socket each; empty: there are none
	Lenient  bool     `json:"lenient,omitempty"`
	Loops    int      `json:"loops"`
	Ahead    int      `json:"ahead"`
	OneByOne bool     `json:"one_by_one,omitempty"`
	Sockets  int      `json:"sockets"` // at most
	Sources  int      `json:"sources"`
	Net      byte     `json:"net"`  // source addresses are in 127.0.Net.0/24
	Mark     int64    `json:"mark"` // deliveries after which it says at once how many there are
}

// outcome is one line from a load process: the outcome of an order, or Arrived, which nobody asked for.
type outcome struct {
	Arrived  int64     `json:"arrived,omitempty"` // deliveries in all
	Error    string    `json:"error,omitempty"`   // the order failed, or, unasked, the process cannot go on
	Done     bool      `json:"done,omitempty"`    // the order was carried out
	Opened   *opened   `json:"opened,omitempty"`
	Edge     *edge     `json:"edge,omitempty"`
	Findings *findings `json:"findings,omitempty"`
}

// decodeLine reads one line as an order or an outcome, strictly.
func decodeLine(line []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", errOrder, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows it", errOrder)
	}
	return nil
}

// check says whether the order can be carried out at all.
func (o *order) check() error {
	const most = 100_000_000
	switch {
	case o.Start != nil && (o.Start.Channels < 1 || o.Start.Channels > most || o.Start.Sockets < 0 || o.Start.Sockets > most || len(o.Start.URLs) == 0 ||
		o.Start.QoS > wire.ExactlyOnce || int(o.Start.Protocol) >= len(dialects) || o.Start.Mark < 1 || o.Start.Loops < 0 || o.Start.Loops > 1024):
		return fmt.Errorf("%w: start", errOrder)
	case o.Open != nil && (o.Open.From < 0 || o.Open.To > most || o.Open.Step < 1 || !(o.Open.Rate >= 0) || o.Open.Ramp < 0 || o.Open.Ahead < 0):
		return fmt.Errorf("%w: open", errOrder)
	case o.Judge != nil && o.Judge.Channels < 1:
		return fmt.Errorf("%w: judge", errOrder)
	}
	return nil
}

// lines returns a scanner of such lines.
func lines(r io.Reader) *bufio.Scanner {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	return s
}

// writeLine writes v as one line.
func writeLine(w io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}
