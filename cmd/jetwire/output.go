package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/gateway/client"
	"github.com/jetwire/jetwire/gateway/wire"
)

// printer writes what a client command found: for people on a terminal, else as one JSON object a line. It is not safe for
// concurrent use.
type printer struct {
	w    *bufio.Writer
	enc  *json.Encoder // nil: for people
	note func(format string, args ...any)

	channels bool // people are told each message's channel
}

func (p *program) printer(c *cli.Context) *printer {
	pr := &printer{w: bufio.NewWriter(p.out), note: p.note}
	if c.Bool("json") || !p.outTerminal {
		pr.enc = json.NewEncoder(pr.w)
		pr.enc.SetEscapeHTML(false)
	}
	return pr
}

// messageLine is a message as one line of JSON. Every key is always there, but for pattern and encoding.
type messageLine struct {
	Channel  string          `json:"channel"`
	Pattern  string          `json:"pattern,omitempty"` // of the subscription that brought it, if that is no channel
	Seq      uint64          `json:"seq"`
	Prev     uint64          `json:"prev"`
	ID       string          `json:"id"`
	Time     int64           `json:"time"` // Unix milliseconds
	From     string          `json:"from"`
	Data     json.RawMessage `json:"data"`
	Encoding string          `json:"encoding,omitempty"` // text or base64, if data is a string that carries what is not JSON
}

func (p *printer) message(m *client.Message) error {
	e := wire.EncodingOf(m.Body)
	if p.enc != nil {
		return p.enc.Encode(messageLine{m.Channel, m.Pattern, m.Seq, m.Prev, m.ID, m.Time, m.From, wire.AppendData(nil, m.Body, e), e.String()})
	}
	body := string(m.Body)
	if e == wire.Base64 {
		body = fmt.Sprintf("(%d bytes) %q", len(m.Body), m.Body)
	}
	seq := "-"
	if m.Seq != 0 {
		seq = "#" + strconv.FormatUint(m.Seq, 10)
	}
	from := m.From
	if from == "" {
		from = "-"
	}
	if p.channels {
		from = m.Channel + "  " + from
	}
	_, err := fmt.Fprintf(p.w, "%-6s %s  %s  %s\n", seq, clock(m.Time), visible(from), visible(body))
	return err
}

// clock returns the local time, with the date unless it is today.
func clock(ms int64) string {
	if ms == 0 {
		return "        "
	}
	t, now := time.UnixMilli(ms), time.Now()
	if y, d := t.Year(), t.YearDay(); y != now.Year() || d != now.YearDay() {
		return t.Format("2006-01-02 15:04:05")
	}
	return t.Format("15:04:05")
}

// gapLine says that messages are lost, or may be.
type gapLine struct {
	Gap struct {
		Channel string `json:"channel"`
		Epoch   string `json:"epoch,omitempty"`
		From    uint64 `json:"from"`
		To      uint64 `json:"to,omitempty"`
		Reason  string `json:"reason"`
	} `json:"gap"`
}

func (p *printer) gap(g client.Gap) error {
	if g.Reason == wire.GapEpoch {
		p.note("gap on %s: the stream was made anew (epoch %s); what was behind #%d is lost", g.Channel, g.Epoch, g.From)
	} else {
		p.note("gap on %s: the log no longer holds messages between #%d and #%d", g.Channel, g.From, g.To)
	}
	if p.enc == nil {
		return nil
	}
	var l gapLine
	l.Gap.Channel, l.Gap.Epoch, l.Gap.From, l.Gap.To, l.Gap.Reason = g.Channel, g.Epoch, g.From, g.To, string(g.Reason)
	return p.enc.Encode(l)
}

// publishLine is the answer to a publish as one line of JSON.
type publishLine struct {
	Channel    string `json:"channel"`
	Seq        uint64 `json:"seq"`
	Epoch      string `json:"epoch"`
	Duplicate  bool   `json:"duplicate"`
	Durability string `json:"durability"`
}

func (p *printer) published(channel string, r client.PublishReply) error {
	if p.enc != nil {
		return p.enc.Encode(publishLine{channel, r.Seq, r.Epoch, r.Duplicate, r.Durability})
	}
	var err error
	switch {
	case r.Seq == 0:
		_, err = fmt.Fprintf(p.w, "%s  sent, not stored\n", channel)
	case r.Duplicate:
		_, err = fmt.Fprintf(p.w, "%s  #%d, stored before (%s)\n", channel, r.Seq, r.Durability)
	default:
		_, err = fmt.Fprintf(p.w, "%s  #%d (%s)\n", channel, r.Seq, r.Durability)
	}
	return err
}

// commandLine is the answer to a command as one line of JSON.
type commandLine struct {
	Destination string `json:"destination"`
	Seq         uint64 `json:"seq"`
	Duplicate   bool   `json:"duplicate"`
	Durability  string `json:"durability"`
}

func (p *printer) commanded(r client.CommandReply) error {
	if p.enc != nil {
		return p.enc.Encode(commandLine(r))
	}
	before := ""
	if r.Duplicate {
		before = ", stored before"
	}
	_, err := fmt.Fprintf(p.w, "%s  #%d%s (%s)\n", r.Destination, r.Seq, before, r.Durability)
	return err
}

// answerLine is a backend's answer as one line of JSON.
type answerLine struct {
	Destination string          `json:"destination"`
	Data        json.RawMessage `json:"data"`
	Encoding    string          `json:"encoding,omitempty"` // as in messageLine
}

func (p *printer) answered(destination string, body []byte) error {
	e := wire.EncodingOf(body)
	if p.enc != nil {
		return p.enc.Encode(answerLine{destination, wire.AppendData(nil, body, e), e.String()})
	}
	text := string(body)
	if e == wire.Base64 {
		text = fmt.Sprintf("(%d bytes) %q", len(body), body)
	}
	_, err := fmt.Fprintln(p.w, visible(text))
	return err
}

// presence prints one line a user, or the answer as one line of JSON.
func (p *printer) presence(who *client.Presence) error {
	if p.enc != nil {
		return p.enc.Encode(who)
	}
	for _, u := range who.Users {
		if _, err := fmt.Fprintf(p.w, "%6d  %s\n", u.Connections, visible(u.User)); err != nil {
			return err
		}
	}
	if who.More {
		p.note("there are more users; %d connections in all", who.Connections)
	}
	if who.Unanswered > 0 {
		p.note("%d gateways did not answer; their connections are not counted", who.Unanswered)
	}
	return nil
}

func (p *printer) flush() error { return p.w.Flush() }

// visible replaces what could command a terminal, or deceive its reader, by escapes: messages come from others.
func visible(s string) string {
	var b strings.Builder
	for _, r := range s {
		const joiner = '\u200d' // of emoji
		if unicode.IsGraphic(r) || r == joiner {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

// visibleLines is visible, but for the ends of lines.
func visibleLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = visible(lines[i])
	}
	return strings.Join(lines, "\n")
}
