package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

func TestEcho(t *testing.T) {
	for _, portable := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		out, in := io.Pipe()
		p := &program{out: in, log: os.Stderr}
		ended := make(chan error, 1)
		go func() { ended <- p.serveEcho(ctx, "127.0.0.1:0", portable) }()
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		conn, _, _, err := ws.Dial(ctx, strings.Fields(line)[2])
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{0, 1, 200, 70_000, 5 << 20} {
			for _, op := range []ws.OpCode{ws.OpText, ws.OpBinary} {
				sent := bytes.Repeat([]byte{'a'}, size)
				if err := wsutil.WriteClientMessage(conn, op, sent); err != nil {
					t.Fatal(err)
				}
				got, gotOp, err := wsutil.ReadServerData(conn)
				if err != nil || gotOp != op || !bytes.Equal(got, sent) {
					t.Fatalf("portable %v, %d bytes: got %d bytes, opcode %v, %v", portable, size, len(got), gotOp, err)
				}
			}
		}
		_ = conn.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("portable %v: ended with %v", portable, err)
		}
	}
}
