package wire

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

func protocol(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(text), "\n")
}

// TestCodeTable: PROTOCOL.md's table of codes is the program's, row by row.
func TestCodeTable(t *testing.T) {
	lines := protocol(t)
	var got []string
	for i, line := range lines {
		if line == "| code | name | come back | meaning |" {
			got = lines[i+2:]
		}
	}
	for i, c := range codes {
		want := fmt.Sprintf("| %d | `%s` | %s | %s |", c.code, c.name, c.comeback, c.text)
		if i >= len(got) || got[i] != want {
			t.Errorf("PROTOCOL.md lacks, at its place:\n%s", want)
		}
	}
	if len(got) > len(codes) && strings.HasPrefix(got[len(codes)], "|") {
		t.Errorf("PROTOCOL.md has a code that the program has not: %s", got[len(codes)])
	}
}

// Codes and names are what other programs hold on to: one of each, and the closing ones within RFC 6455's ranges.
func TestCodes(t *testing.T) {
	for _, c := range codes {
		if found, ok := CodeOf(c.name); !ok || found != c.code || byCode[c.code].name != c.name {
			t.Errorf("%d %s stands in the table twice", c.code, c.name)
		}
		if c.code < 1000 || c.code > 1011 && c.code < 4000 || c.code > 4999 {
			t.Errorf("%d may not be sent in a close frame (RFC 6455, section 7.4)", c.code)
		}
		if c.code.Comeback() != c.comeback || c.code.Err().Message != c.text {
			t.Errorf("%d: %v, %v", c.code, c.code.Comeback(), c.code.Err())
		}
		text, _ := c.code.MarshalText()
		var back Code
		if err := back.UnmarshalText(text); err != nil || back != c.code {
			t.Errorf("%d as text is %s, and back %d, %v", c.code, text, back, err)
		}
	}
	if c := Code(4999); c.Comeback() != Later || c.String() != "4999" || c.Err().Message == "" {
		t.Errorf("an unknown code: %v, %v", c, c.Comeback())
	}
}

// TestExamples: every frame that PROTOCOL.md shows is one.
func TestExamples(t *testing.T) {
	client, server := 0, 0
	for _, line := range protocol(t) {
		if frame, ok := strings.CutPrefix(line, "→ "); ok {
			client++
			var d Decoder
			var c Command
			d.Reset([]byte(frame))
			if err := d.Next(&c); err != nil {
				t.Errorf("%s: %v", frame, err)
			}
			if err := d.Next(&c); !errors.Is(err, io.EOF) {
				t.Errorf("%s: %v", frame, err)
			}
		}
		if frame, ok := strings.CutPrefix(line, "← "); ok {
			server++
			err := DecodeServer([]byte(frame), func(in *Incoming) error {
				if again := string(appendIncoming(nil, in)); again != frame {
					t.Errorf("PROTOCOL.md:  %s\nthe program: %s", frame, again)
				}
				return nil
			})
			if err != nil {
				t.Errorf("%s: %v", frame, err)
			}
		}
	}
	if client < 5 || server < 5 {
		t.Errorf("only %d and %d examples were found", client, server)
	}
}

// TestLimitsInProtocol: the figures in PROTOCOL.md are the program's.
func TestLimitsInProtocol(t *testing.T) {
	all := strings.Join(protocol(t), "\n")
	for _, want := range []string{
		fmt.Sprintf("1 to %d bytes\n", MaxChannel),
		fmt.Sprintf("1 to %d bytes of printable ASCII", MaxID),
		fmt.Sprintf("at most %d,%03d bytes", MaxToken/1000, MaxToken%1000),
		fmt.Sprintf("string, at most %d bytes | optional: name", maxClient),
		fmt.Sprintf("at most %d bytes | optional: the epoch", MaxEpoch),
		fmt.Sprintf("at most %d bytes | `next`", MaxCursor),
		fmt.Sprintf("no deeper than %d levels", MaxDepth),
		"`" + Subprotocol + "`",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("PROTOCOL.md does not say %q", want)
		}
	}
}
