package hub

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestPatternsAgainstSplitting compares the trie with a plain comparison, token by token.
func TestPatternsAgainstSplitting(t *testing.T) {
	plain := func(pattern, channel string) bool {
		p, c := strings.Split(pattern, "."), strings.Split(channel, ".")
		for i, token := range p {
			switch {
			case token == ">":
				return len(c) > i
			case i >= len(c) || token != "*" && token != c[i]:
				return false
			}
		}
		return len(p) == len(c)
	}
	token := rapid.SampledFrom([]string{"a", "b", "c"})
	channel := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(token, 2, 5).Draw(t, "tokens"), ".")
	})
	pattern := rapid.Custom(func(t *rapid.T) string {
		tokens := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "*", "*"}), 1, 4).Draw(t, "tokens")
		return strings.Join(append(tokens, rapid.SampledFrom([]string{"*", ">", "a"}).Draw(t, "last")), ".")
	})
	rapid.Check(t, func(t *rapid.T) {
		var p patterns
		here := map[string]*topic{}
		for _, name := range rapid.SliceOfN(pattern, 1, 20).Draw(t, "patterns") {
			if here[name] != nil {
				p.set(name, nil)
				delete(here, name)
				continue
			}
			here[name] = &topic{name: name}
			p.set(name, here[name])
		}
		for _, c := range rapid.SliceOfN(channel, 1, 20).Draw(t, "channels") {
			var got, want []string
			for _, t := range p.match(nil, c) {
				got = append(got, t.name)
			}
			for name := range here {
				if plain(name, c) {
					want = append(want, name)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Fatalf("%s: %v, want %v", c, got, want)
			}
		}
		for name := range here {
			p.set(name, nil)
		}
		if !p.root.empty() || p.count.Load() != 0 {
			t.Fatalf("what was removed is still there: %+v", p.root)
		}
	})
}
