package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// flagsFirst moves the flags that stand behind arguments before them, since urfave/cli stops at the first argument.
// What follows "--" is left as it is. An argument that is "-", or that begins like a negative number, is no flag.
func flagsFirst(app *cli.App, args []string) []string {
	if len(args) == 0 {
		return args
	}
	path, rest := args[:1], args[1:]
	commands, flags := app.Commands, []cli.Flag(nil)
	for len(rest) > 0 {
		c := named(commands, rest[0])
		if c == nil {
			break
		}
		path, rest = append(path[:len(path):len(path)], rest[0]), rest[1:]
		commands, flags = c.Subcommands, c.Flags
	}
	var front, back []string
	for i := 0; i < len(rest); i++ {
		arg := rest[i]
		if arg == "--" {
			back = append(back, rest[i+1:]...)
			break
		}
		if !looksLikeFlag(arg) {
			back = append(back, arg)
			continue
		}
		front = append(front, arg)
		if takesValue(flags, arg) && i+1 < len(rest) {
			i++
			front = append(front, rest[i])
		}
	}
	out := append(path[:len(path):len(path)], front...)
	if len(back) > 0 {
		out = append(append(out, "--"), back...)
	}
	return out
}

func named(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

func looksLikeFlag(arg string) bool {
	return len(arg) > 1 && arg[0] == '-' && (arg[1] < '0' || arg[1] > '9') && arg[1] != '.'
}

// takesValue says whether the argument behind arg belongs to it.
func takesValue(flags []cli.Flag, arg string) bool {
	name := strings.TrimLeft(arg, "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, f := range flags {
		for _, n := range f.Names() {
			if n == name {
				_, isBool := f.(*cli.BoolFlag)
				return !isBool
			}
		}
	}
	return false
}
