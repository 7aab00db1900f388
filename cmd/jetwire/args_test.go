package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFlagsFirst(t *testing.T) {
	app := (&program{}).app()
	for _, c := range [][2]string{
		{"jetwire", "jetwire"},
		{"jetwire history chat.lobby --last 20", "jetwire history --last 20 -- chat.lobby"},
		{"jetwire history --last 20 chat.lobby", "jetwire history --last 20 -- chat.lobby"},
		{"jetwire history chat.lobby --last=20 --json", "jetwire history --last=20 --json -- chat.lobby"},
		{"jetwire history chat.lobby --json --last 20", "jetwire history --json --last 20 -- chat.lobby"},
		{"jetwire pub --json chat.lobby x --id a", "jetwire pub --json --id a -- chat.lobby x"},
		{"jetwire pub chat.lobby -", "jetwire pub -- chat.lobby -"},
		{"jetwire pub chat.lobby - --qos 0", "jetwire pub --qos 0 -- chat.lobby -"},
		{"jetwire pub chat.lobby -5", "jetwire pub -- chat.lobby -5"},
		{"jetwire pub chat.lobby -.5", "jetwire pub -- chat.lobby -.5"},
		{"jetwire pub chat.lobby --id a -- --json", "jetwire pub --id a -- chat.lobby --json"},
		{"jetwire pub --id -5 chat.lobby x", "jetwire pub --id -5 -- chat.lobby x"},
		{"jetwire sub chat.lobby --since", "jetwire sub --since -- chat.lobby"},
		{"jetwire sub chat.lobby --nonsense x", "jetwire sub --nonsense -- chat.lobby x"},
		{"jetwire config show --listen a:1", "jetwire config show --listen a:1"},
		{"jetwire nonsense x --y", "jetwire --y -- nonsense x"},
		{"jetwire --help", "jetwire --help"},
	} {
		got := flagsFirst(app, strings.Fields(c[0]))
		if d := cmp.Diff(strings.Fields(c[1]), got); d != "" {
			t.Errorf("%s: %s", c[0], d)
		}
	}
}

// FuzzFlagsFirst: no argument is lost or invented, but for one "--".
func FuzzFlagsFirst(f *testing.F) {
	f.Add("jetwire pub chat.lobby - --id a -- --x")
	app := (&program{}).app()
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		count := func(list []string) map[string]int {
			m := map[string]int{}
			for _, a := range list {
				m[a]++
			}
			return m
		}
		before, after := count(args), count(flagsFirst(app, args))
		delete(after, "--")
		first := before["--"]
		delete(before, "--")
		if first > 1 { // a second one is an argument
			return
		}
		if d := cmp.Diff(before, after); d != "" {
			t.Error(d)
		}
	})
}
