package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/gateway/client"
	"github.com/jetwire/jetwire/gateway/wire"
)

const (
	defaultLast = 20
	pageSize    = 500 // messages asked for at a time
)

func (p *program) historyCommand() *cli.Command {
	return &cli.Command{
		Name:        "history",
		Usage:       "print messages that a channel's log holds",
		ArgsUsage:   "CHANNEL",
		Description: fmt.Sprintf("Oldest first, unless --newest is given. Without any range: the last %d. Pages are followed until the range is done.", defaultLast),
		Flags: clientFlags(
			&cli.IntFlag{Name: "last", Usage: "the newest `N` messages (listed oldest first)", DefaultText: "20 if no range is given"},
			&cli.Uint64Flag{Name: "since", Usage: "what follows this `SEQ`uence", DefaultText: "the beginning"},
			&cli.Uint64Flag{Name: "until", Usage: "up to this `SEQ`uence, inclusive", DefaultText: "the end"},
			&cli.StringFlag{Name: "since-time", Usage: "what is not older than a `TIME`: RFC 3339, or a duration before now such as 90m or 7d"},
			&cli.IntFlag{Name: "limit", Usage: "at most `N` messages", DefaultText: "all"},
			&cli.BoolFlag{Name: "newest", Usage: "newest first"},
			&cli.StringFlag{Name: "epoch", Usage: "the `EPOCH` that --since and --until belong to"},
		),
		Action: p.history,
	}
}

func (p *program) history(c *cli.Context) error {
	args, err := arguments(c, "CHANNEL")
	if err != nil {
		return err
	}
	h, err := historyRequest(c, time.Now())
	if err != nil {
		return err
	}
	h.Channel = args[0]
	cl, err := p.dial(c, "")
	if err != nil {
		return err
	}
	defer func() { _ = cl.Close() }()
	pr := p.printer(c)
	if h.Last > 0 {
		err = printLast(c, cl, h, pr)
	} else {
		err = printRange(c, cl, h, c.Int("limit"), pr)
	}
	return errors.Join(err, pr.flush())
}

func historyRequest(c *cli.Context, now time.Time) (client.HistoryRequest, error) {
	h := client.HistoryRequest{
		Last: c.Int("last"), Since: c.Uint64("since"), Until: c.Uint64("until"), Newest: c.Bool("newest"), Epoch: c.String("epoch"),
	}
	ranged := c.IsSet("since") || c.IsSet("until") || c.IsSet("since-time") || c.IsSet("newest") || c.IsSet("limit")
	switch {
	case c.IsSet("last") && h.Last <= 0:
		return h, usagef("--last needs a positive number")
	case c.IsSet("last") && ranged:
		return h, usagef("--last goes with no other range")
	case c.Int("limit") < 0:
		return h, usagef("--limit is negative")
	case c.IsSet("until") && h.Until == 0:
		return h, usagef("--until: sequences begin at 1")
	case !c.IsSet("last") && !ranged:
		h.Last = defaultLast
	}
	if text := c.String("since-time"); text != "" {
		t, err := pointInTime(text, now)
		if err != nil {
			return h, err
		}
		h.SinceTime = t.UnixMilli()
	}
	return h, nil
}

// pointInTime reads RFC 3339, or a duration before now.
func pointInTime(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil && t.UnixMilli() > 0 {
		return t, nil
	}
	if d, err := parseDuration(text); err == nil && now.Add(-d).UnixMilli() > 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, usagef("--since-time: %q is neither a time such as 2030-01-31T12:00:00Z nor a duration such as 90m or 7d", text)
}

// ask reads one page within the command's timeout.
func ask(c *cli.Context, cl *client.Client, h client.HistoryRequest) (client.HistoryPage, error) {
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	page, err := cl.History(ctx, h)
	if err != nil {
		return page, fmt.Errorf("history of %s: %w", h.Channel, err)
	}
	return page, nil
}

// next is the request for the page behind page.
func next(h client.HistoryRequest, page *client.HistoryPage) client.HistoryRequest {
	return client.HistoryRequest{Channel: h.Channel, Cursor: page.Next}
}

// printLast prints the newest h.Last messages. Its pages come newest page first, each listed oldest first.
func printLast(c *cli.Context, cl *client.Client, h client.HistoryRequest, pr *printer) error {
	var pages []client.HistoryPage
	for {
		page, err := ask(c, cl, h)
		if err != nil {
			return err
		}
		pages = append(pages, page)
		if page.Next == "" {
			break
		}
		h = next(h, &page)
	}
	slices.Reverse(pages)
	for i := range pages {
		if err := printPage(&pages[i], pr, len(pages[i].Messages)); err != nil {
			return err
		}
	}
	return nil
}

// printRange prints a range page by page, up to limit messages (0: all).
func printRange(c *cli.Context, cl *client.Client, h client.HistoryRequest, limit int, pr *printer) error {
	for left := limit; ; {
		h.Limit = pageSize
		if limit > 0 {
			h.Limit = min(pageSize, left)
		}
		page, err := ask(c, cl, h)
		if err != nil {
			return err
		}
		n := len(page.Messages)
		if limit > 0 {
			n = min(n, left)
		}
		if err := errors.Join(printPage(&page, pr, n), pr.flush()); err != nil {
			return err
		}
		if left -= n; page.Next == "" || limit > 0 && left <= 0 {
			return nil
		}
		h = next(h, &page)
	}
}

// printPage prints a page's first n messages and what the log no longer holds, where it belongs in their order.
func printPage(page *client.HistoryPage, pr *printer, n int) error {
	lost := page.Lost
	tell := func() error {
		g := client.Gap{Channel: page.Channel, Epoch: page.Epoch, From: lost.From, To: lost.To, Reason: wire.GapRetention}
		lost = nil
		return pr.gap(g)
	}
	for i := range page.Messages[:n] {
		m := &page.Messages[i]
		if lost != nil && m.Seq > lost.To && !descending(page.Messages) {
			if err := tell(); err != nil {
				return err
			}
		}
		if err := pr.message(m); err != nil {
			return err
		}
	}
	if lost != nil {
		return tell()
	}
	return nil
}

func descending(m []client.Message) bool { return len(m) > 1 && m[0].Seq > m[len(m)-1].Seq }
