package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/jetwire/jetwire/bench/report"
)

// pointEvery is how often a point is told where lines cannot be rewritten.
const pointEvery = 5 * time.Second

// console is a Writer that several may write to at a time. Where width says that it is a terminal, its last line may be a status, which is
// rewritten in place and stays below everything else.
type console struct {
	to    io.Writer
	width func() int // of the terminal; 0: it is none

	mu     sync.Mutex // guards what follows
	status string
	told   time.Time // a point, where there is no terminal
}

const eraseLine = "\r\x1b[K"

// Write implements io.Writer.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status == "" {
		return c.to.Write(p)
	}
	_, _ = io.WriteString(c.to, eraseLine)
	n, err := c.to.Write(p)
	_, _ = io.WriteString(c.to, c.status)
	return n, err
}

// say writes a line of its own.
func (c *console) say(line string) {
	_, _ = fmt.Fprintf(c, "%s %s\n", time.Now().Format(time.TimeOnly), line)
}

// point shows how a run goes: in the terminal's last line, or in a line every five seconds.
func (c *console) point(p report.Point) {
	width := c.width()
	if width > 0 {
		c.setStatus(shorten(p.Text(), width-1))
		return
	}
	c.mu.Lock()
	due := time.Since(c.told) >= pointEvery
	if due {
		c.told = time.Now()
	}
	c.mu.Unlock()
	if due {
		c.say(p.Text())
	}
}

// setStatus rewrites the last line; an empty one removes it.
func (c *console) setStatus(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status != "" || line != "" {
		_, _ = io.WriteString(c.to, eraseLine+line)
	}
	c.status = line
}

// shorten cuts a text off where a terminal would break it.
func shorten(text string, width int) string {
	if r := []rune(text); len(r) > width {
		return string(r[:max(width, 0)])
	}
	return text
}

// terminalWidth returns the width of a file that is a terminal, and otherwise 0.
func terminalWidth(fd uintptr) func() int {
	return func() int {
		width, _, err := term.GetSize(int(fd))
		if err != nil {
			return 0
		}
		return width
	}
}
