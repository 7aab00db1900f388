package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/urfave/cli/v2"
)

// Bounds of a load test in a file.
const (
	maxPlan  = 1 << 20 // bytes
	maxSteps = 100
)

var errPlan = errors.New("not a load test")

// plan is a load test in a file: its steps, in order.
type plan []step

// step is one scenario with its flags.
type step struct {
	name     string // unique
	scenario string
	args     []string
}

// setting is what a file says of one flag.
type setting struct {
	values []string
	line   int
}

type settings map[string]setting

// planner reads a plan. Keys are the flags of the commands, so that a file can say what a command line can, and nothing else.
type planner struct {
	file     string
	commands map[string]*cli.Command // the scenarios
	shared   settings
}

// scenarios are the commands that a step can run: those that have a channel's namespace.
func scenarios(app *cli.App) map[string]*cli.Command {
	found := map[string]*cli.Command{}
	for _, cmd := range app.Commands {
		if flagOf(cmd, "namespace") != nil {
			found[cmd.Name] = cmd
		}
	}
	return found
}

func flagOf(cmd *cli.Command, name string) cli.Flag {
	for _, f := range cmd.Flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

// categoryOf is the category of a flag, by which a file groups what its steps share.
func categoryOf(f cli.Flag) string {
	if c, ok := f.(cli.CategorizableFlag); ok {
		return c.GetCategory()
	}
	return ""
}

// readPlan reads a file's text. Errors name the file, the line and the key.
func readPlan(file string, text []byte, app *cli.App, overrides settings) (plan, error) {
	p := &planner{file: filepath.Base(file), commands: scenarios(app), shared: settings{}}
	if len(text) > maxPlan {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", errPlan, p.file, maxPlan)
	}
	f, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errPlan, p.file, err)
	}
	if len(f.Docs) != 1 || f.Docs[0].Body == nil {
		return nil, fmt.Errorf("%w: %s must hold one document, with steps", errPlan, p.file)
	}
	top, err := p.mapping(f.Docs[0].Body, "the file")
	if err != nil {
		return nil, err
	}
	var steps *ast.SequenceNode
	for _, v := range top {
		switch key := v.Key.String(); key {
		case "server", "load", "report":
			if err := p.share(key, v); err != nil {
				return nil, err
			}
		case "steps":
			list, ok := v.Value.(*ast.SequenceNode)
			if !ok {
				return nil, p.fail(v, "steps is a list: each begins with a dash")
			}
			steps = list
		default:
			return nil, p.fail(v, "unknown key %q: a file has server, load, report and steps", key)
		}
	}
	if steps == nil || len(steps.Values) == 0 || len(steps.Values) > maxSteps {
		return nil, fmt.Errorf("%w: %s needs steps, from 1 to %d", errPlan, p.file, maxSteps)
	}
	return p.steps(steps, overrides)
}

func (p *planner) fail(n ast.Node, format string, args ...any) error {
	return fmt.Errorf("%w: %s:%d: %s", errPlan, p.file, lineOf(n), fmt.Sprintf(format, args...))
}

func lineOf(n ast.Node) int {
	if v, ok := n.(*ast.MappingValueNode); ok && v.Key != nil {
		n = v.Key
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

// mapping returns the keys of a mapping, each of which may stand there once.
func (p *planner) mapping(n ast.Node, what string) ([]*ast.MappingValueNode, error) {
	var list []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		list = m.Values
	case *ast.MappingValueNode:
		list = []*ast.MappingValueNode{m}
	case *ast.NullNode:
		return nil, nil
	default:
		return nil, p.fail(n, "%s is a mapping: KEY: VALUE", what)
	}
	seen := map[string]bool{}
	for _, v := range list {
		if v.Key == nil || v.Value == nil {
			return nil, p.fail(v, "%s has a key without a value", what)
		}
		key := v.Key.String()
		if seen[key] {
			return nil, p.fail(v, "%s has %q twice", what, key)
		}
		seen[key] = true
	}
	return list, nil
}

// share takes what all steps have in common.
func (p *planner) share(category string, v *ast.MappingValueNode) error {
	list, err := p.mapping(v.Value, category)
	if err != nil {
		return err
	}
	for _, v := range list {
		key := v.Key.String()
		known := false
		for _, cmd := range p.commands {
			f := flagOf(cmd, key)
			known = known || f != nil && categoryOf(f) == category
		}
		if !known {
			return p.fail(v, "unknown key %q of %s: jetbench fanout --help names the flags that are there", key, category)
		}
		if p.shared[key], err = p.value(v); err != nil {
			return err
		}
	}
	return nil
}

// value reads one value, or a list of them for a flag that may be repeated.
func (p *planner) value(v *ast.MappingValueNode) (s setting, err error) {
	s.line = lineOf(v)
	nodes := []ast.Node{v.Value}
	if list, ok := v.Value.(*ast.SequenceNode); ok {
		nodes = list.Values
	}
	for _, n := range nodes {
		switch n.(type) {
		case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
			s.values = append(s.values, n.GetToken().Value)
		default:
			return s, p.fail(v, "%q needs a text, a number, true or false, or a list of them", v.Key.String())
		}
	}
	return s, nil
}

func (p *planner) steps(list *ast.SequenceNode, overrides settings) (steps plan, err error) {
	names := map[string]int{}
	for _, n := range list.Values {
		keys, err := p.mapping(n, "a step")
		if err != nil {
			return nil, err
		}
		s, own := step{}, settings{}
		for _, v := range keys {
			switch key := v.Key.String(); {
			case key == "name":
				name, err := p.value(v)
				if err != nil {
					return nil, err
				}
				s.name = strings.Join(name.values, " ")
			case p.commands[key] == nil:
				return nil, p.fail(v, "unknown scenario %q: the scenarios are %s", key, strings.Join(slices.Sorted(maps.Keys(p.commands)), ", "))
			case s.scenario != "":
				return nil, p.fail(v, "a step has one scenario: begin a new step for %s", key)
			default:
				s.scenario = key
				if own, err = p.options(p.commands[key], v); err != nil {
					return nil, err
				}
			}
		}
		if s.scenario == "" {
			return nil, p.fail(n, "a step needs a scenario: one of %s", strings.Join(slices.Sorted(maps.Keys(p.commands)), ", "))
		}
		if s.name == "" {
			s.name = s.scenario
		}
		if names[s.name]++; names[s.name] > 1 {
			s.name += fmt.Sprintf("-%d", names[s.name])
		}
		if s.args, err = p.args(p.commands[s.scenario], own, overrides); err != nil {
			return nil, err
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// options are those of one step.
func (p *planner) options(cmd *cli.Command, v *ast.MappingValueNode) (settings, error) {
	list, err := p.mapping(v.Value, cmd.Name)
	if err != nil {
		return nil, err
	}
	own := settings{}
	for _, v := range list {
		key := v.Key.String()
		if flagOf(cmd, key) == nil {
			return nil, p.fail(v, "unknown key %q of %s: jetbench %s --help names the flags that are there", key, cmd.Name, cmd.Name)
		}
		if own[key], err = p.value(v); err != nil {
			return nil, err
		}
	}
	return own, nil
}

// args are the arguments of a step: what is shared, what is its own instead, and what the command line says instead of both.
func (p *planner) args(cmd *cli.Command, own, overrides settings) (args []string, err error) {
	all := maps.Clone(p.shared)
	maps.Copy(all, own)
	maps.Copy(all, overrides)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		f := flagOf(cmd, key)
		if f == nil {
			continue // another scenario's
		}
		for _, value := range all[key].values {
			if err := try(f, key, value); err != nil {
				return nil, fmt.Errorf("%w: %s:%d: %s: %w", errPlan, p.file, all[key].line, key, err)
			}
			args = append(args, "--"+key+"="+value)
		}
	}
	return args, nil
}

// try says whether a flag takes a value.
func try(f cli.Flag, name, value string) error {
	set := flag.NewFlagSet("", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	if err := f.Apply(set); err != nil {
		return err
	}
	if err := set.Set(name, value); err != nil {
		return fmt.Errorf("%q: %w", value, err)
	}
	return nil
}
