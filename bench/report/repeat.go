package report

import (
	"cmp"
	"slices"
)

// Repeats is what several runs of one scenario measured.
type Repeats struct {
	Runs   int               `json:"runs"`
	Spread map[string]Spread `json:"spread"` // by the keys of Measures; of figures that every run knows
}

// Spread is a figure in several runs.
type Spread struct {
	Min    Figure `json:"min"`
	Median Figure `json:"median"`
	Max    Figure `json:"max"`
}

// Repeat makes one report of several runs of a scenario: the run in the middle, with the spread of every figure. What went wrong in
// any of them is in it: losses and their like are added up, limits and notes are gathered. It returns nil for none.
func Repeat(runs []*Report) *Report {
	if len(runs) == 0 {
		return nil
	}
	values := make(map[string][]Figure)
	for _, r := range runs {
		for _, m := range r.Measures() {
			if m.Value.Known() {
				values[m.Key] = append(values[m.Key], m.Value)
			}
		}
	}
	middle := *runs[middleRun(runs, values)]
	middle.Repeats = &Repeats{Runs: len(runs), Spread: make(map[string]Spread)}
	for key, list := range values {
		if len(list) == len(runs) {
			middle.Repeats.Spread[key] = spread(list)
		}
	}
	if len(runs) > 1 {
		middle.addUp(runs)
	}
	return &middle
}

func spread(list []Figure) Spread {
	slices.Sort(list)
	n := len(list)
	return Spread{list[0], (list[(n-1)/2] + list[n/2]) / 2, list[n-1]}
}

// mainFigures tell which run is in the middle: by the first of these that every run knows.
var mainFigures = []string{
	"server_cpu_us_per_delivery", "server_cpu_us_per_publish", "resume_storm.server_cpu_us_per_message", "ping.server_cpu_us_per_ping",
	"server_cpu_us_per_connect",
	"delivered_per_second", "published_per_second", "latency_us.p50",
}

func middleRun(runs []*Report, values map[string][]Figure) int {
	order := make([]int, len(runs))
	for i := range order {
		order[i] = i
	}
	for _, key := range mainFigures {
		if len(values[key]) == len(runs) {
			list := slices.Clone(values[key])
			slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(list[a], list[b]) })
			break
		}
	}
	return order[(len(order)-1)/2]
}

// addUp puts into r what went wrong in any run.
func (r *Report) addUp(runs []*Report) {
	r.Sent, r.Received = 0, 0
	r.Lost, r.Duplicated, r.Reordered, r.Wrong, r.Gaps, r.Foreign = 0, 0, 0, 0, 0, 0
	r.PublishErrors, r.Unanswered, r.Disconnects = 0, 0, 0
	r.Limits, r.Notes = nil, nil
	for _, x := range runs {
		r.Sent, r.Received = r.Sent+x.Sent, r.Received+x.Received
		r.Lost, r.Duplicated, r.Reordered = r.Lost+x.Lost, r.Duplicated+x.Duplicated, r.Reordered+x.Reordered
		r.Wrong, r.Gaps, r.Foreign = r.Wrong+x.Wrong, r.Gaps+x.Gaps, r.Foreign+x.Foreign
		r.PublishErrors, r.Unanswered, r.Disconnects = r.PublishErrors+x.PublishErrors, r.Unanswered+x.Unanswered, r.Disconnects+x.Disconnects
		r.ClientLimited = r.ClientLimited || x.ClientLimited
		for _, l := range x.Limits {
			if !slices.ContainsFunc(r.Limits, func(have Limit) bool { return have.Of == l.Of }) {
				r.Limits = append(r.Limits, l)
			}
		}
		for _, n := range x.Notes {
			if !slices.Contains(r.Notes, n) {
				r.Notes = append(r.Notes, n)
			}
		}
	}
}
