package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench"
)

// workerName is the command as which jetbench starts itself to share a run's sockets.
const workerName = "worker"

func (p *program) worker() *cli.Command {
	return &cli.Command{
		Name: workerName, Hidden: true, Usage: "a load process: orders come on standard input",
		Action: func(c *cli.Context) error { return bench.Work(c.Context, os.Stdin, p.out) },
	}
}

// workerProgram is that command with this program.
func workerProgram() []string {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{self, workerName}
}
