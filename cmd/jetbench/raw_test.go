package main

import (
	"os"
	"testing"
	"time"
)

func TestRawPublisher(t *testing.T) {
	p := &program{out: os.Stderr, log: os.Stderr}
	s, err := p.rawServer(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	rate, err := s.raw.Publish(t.Context(), 10, 128, 50*time.Millisecond, 300*time.Millisecond)
	if err != nil || rate < 1000 {
		t.Errorf("%.0f/s, %v", rate, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.scratch); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", s.scratch, err)
	}
}
