package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/jetwire/jetwire/bench/report"
)

func TestStatusStaysBelow(t *testing.T) {
	var b bytes.Buffer
	c := &console{to: &b, width: func() int { return 20 }}
	p := report.NoPoint(3)
	p.Connections = 5000
	c.point(p)
	c.say("an event")
	c.setStatus("")
	const status = "3 s: 5,000 connecti"
	out := b.String()
	if !strings.HasPrefix(out, eraseLine+status+eraseLine) || !strings.HasSuffix(out, " an event\n"+status+eraseLine) {
		t.Errorf("%q", out)
	}
}

func TestPointsAreRareWithoutATerminal(t *testing.T) {
	var b bytes.Buffer
	c := &console{to: &b, width: func() int { return 0 }}
	for i := range 4 {
		c.point(report.NoPoint(report.Figure(i)))
	}
	c.setStatus("")
	if out := b.String(); strings.Count(out, "\n") != 1 || !strings.Contains(out, "0 s: 0 connections") || strings.Contains(out, "\x1b") {
		t.Errorf("%q", out)
	}
}
