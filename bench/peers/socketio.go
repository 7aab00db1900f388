package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

var errSocketIO = errors.New("socketio needs Node, npm and bench/peers/socketio of the source tree (--socketio DIR)")

// serveSocketIO becomes Node: the process keeps its number, and what it uses is what Node uses. Socket.IO is installed when
// it is not there.
func serveSocketIO(ctx context.Context, o options, _ func(url string)) error {
	host, port, err := net.SplitHostPort(o.listen)
	if err != nil {
		return err
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return fmt.Errorf("%w: %w", errSocketIO, err)
	}
	server := filepath.Join(o.dir, "server.js")
	if _, err := os.Stat(server); err != nil {
		return fmt.Errorf("%w: %w", errSocketIO, err)
	}
	if _, err := os.Stat(filepath.Join(o.dir, "node_modules")); errors.Is(err, os.ErrNotExist) {
		npm := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund")
		npm.Dir = o.dir
		if text, err := npm.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: npm ci: %w\n%s", errSocketIO, err, text)
		}
	}
	return syscall.Exec(node, []string{"node", server, host, port, strconv.FormatInt(o.ping.Milliseconds(), 10)}, os.Environ())
}
