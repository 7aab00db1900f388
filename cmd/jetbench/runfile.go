package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
)

// paths are flags that name a file to write: with several steps, each writes one of its own.
var paths = []string{"json", "html"}

func (p *program) runFile() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "a load test in a YAML file, step by step", ArgsUsage: "FILE.yaml",
		Description: "The file has settings that all steps share, grouped as the flags are (server, load, report), and steps: scenarios with\n" +
			"their options. Keys are named as the flags. Where there are several steps, a report's file gets the step's name: load.json\n" +
			"becomes load-NAME.json. bench/examples has some. The exit status is 1 if any step lost, duplicated or reordered messages.",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "set", Usage: "`KEY=VALUE` instead of what the file says, in every step that has the key; may be repeated"},
		},
		OnUsageError: usageError,
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return fmt.Errorf("%w: jetbench run takes one file, and flags before it", errUsage)
			}
			overrides := settings{}
			for _, text := range c.StringSlice("set") {
				key, value, ok := strings.Cut(text, "=")
				if !ok {
					return fmt.Errorf("%w: --set %q: it is KEY=VALUE", errUsage, text)
				}
				s := overrides[key]
				s.values = append(s.values, value)
				overrides[key] = s
			}
			text, err := os.ReadFile(c.Args().First())
			if err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			steps, err := readPlan(c.Args().First(), text, c.App, overrides)
			if err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			return p.runPlan(c.Context, steps)
		},
	}
}

// runPlan runs all steps. One that finds messages lost does not keep those behind it from running.
func (p *program) runPlan(ctx context.Context, steps plan) (broken error) {
	for i, s := range steps {
		args := s.args
		if len(steps) > 1 {
			p.console.say(fmt.Sprintf("step %d of %d: %s", i+1, len(steps), s.name))
			args = s.separate()
		}
		each := &program{out: p.out, log: p.console.to, width: p.width}
		err := each.app().RunContext(ctx, append([]string{"jetbench", s.scenario}, args...))
		switch {
		case errors.Is(err, errBroken):
			broken = errors.Join(broken, fmt.Errorf("step %s: %w", s.name, err))
		case err != nil:
			return errors.Join(broken, fmt.Errorf("step %s: %w", s.name, err))
		}
	}
	return broken
}

// separate are the arguments with the step's name in the names of the files that it writes.
func (s *step) separate() []string {
	args := make([]string, len(s.args))
	for i, arg := range s.args {
		args[i] = arg
		for _, key := range paths {
			if path, ok := strings.CutPrefix(arg, "--"+key+"="); ok && path != "-" {
				extension := filepath.Ext(path)
				args[i] = "--" + key + "=" + strings.TrimSuffix(path, extension) + "-" + fileName(s.name) + extension
			}
		}
	}
	return args
}

// fileName is a step's name as a part of a file's.
func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, name)
}
