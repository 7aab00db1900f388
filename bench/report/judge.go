package report

import (
	"fmt"
	"strings"
)

// Shares past which a report says that something was at its limit.
const (
	busyLimit    = 0.9
	machineLimit = 0.95
	shortfall    = 0.98
	filesLimit   = 0.9
	otherLimit   = 0.15           // of the machine
	delayLimit   = Figure(10_000) // µs
)

// What can limit a run.
const (
	LimitClient   = "client"         // it had no time left
	LimitSchedule = "schedule"       // messages were not sent when they were meant to be
	LimitMachine  = "machine"        // its cores were busy
	LimitOthers   = "other programs" // used the machine meanwhile
	LimitRate     = "rate"           // less was delivered than asked for
	LimitFiles    = "descriptors"    // there are hardly more
)

// Limit is something other than the server that limited what was measured, or may have.
type Limit struct {
	Of   string `json:"of"`
	Text string `json:"text"` // what was seen, and what to do
}

func (r *Report) limit(of, format string, args ...any) {
	r.Limits = append(r.Limits, Limit{of, fmt.Sprintf(format, args...)})
}

// Judge finds out what limited the run. It is called once, when all figures are there.
func (r *Report) Judge() {
	cores := Figure(r.Machine.Cores)
	if r.ClientBusy > busyLimit {
		r.ClientLimited = true
		r.limit(LimitClient, "the client was at its limit: its busiest loop had work %.0f %% of the time; "+
			"the server may be able to do more than this: give the client more --loops, or cores of its own", 100*r.ClientBusy)
	}
	if r.Target.Known() && r.SendDelay.P99 > delayLimit {
		r.ClientLimited = true
		r.limit(LimitSchedule, "the publisher fell behind its schedule: p99 %.1f ms; latencies include that: ask for a lower rate", r.SendDelay.P99/1e3)
	}
	if r.ClientCores+r.ServerCores > machineLimit*cores {
		r.limit(LimitMachine, "the machine was at its limit: server and client used %.2f of %.0f cores: latencies are those of a full machine, "+
			"and the client took its share from the server", r.ClientCores+r.ServerCores, cores)
	}
	if r.OtherCores > otherLimit*cores {
		r.limit(LimitOthers, "other programs used %.2f of %.0f cores meanwhile: measure again on a quiet machine", r.OtherCores, cores)
	}
	if r.Target.Known() && r.Delivered < shortfall*r.Target {
		r.limit(LimitRate, "only %.0f of %.0f deliveries a second took place", r.Delivered, r.Target)
	}
	r.judgeFiles("client", r.Files.Needed, r.Files.Client, "raise its limit (ulimit -n), or use several load processes")
	r.judgeFiles("server", r.Files.ServerNeeded, r.Files.Server, "raise its limit (ulimit -n, LimitNOFILE)")
}

func (r *Report) judgeFiles(whose string, needed, most int, advice string) {
	if most > 0 && float64(needed) > filesLimit*float64(most) {
		r.limit(LimitFiles, "descriptors cap the run: it needed %s of the %s that the %s may have: for more connections, %s",
			count(needed), count(most), whose, advice)
	}
}

// Verdict says in a sentence whether the figures are the server's.
func (r *Report) Verdict() string {
	if len(r.Limits) == 0 {
		if !r.cpuKnown() {
			return "What the server used is unknown: give its --pid, or the address of its --metrics."
		}
		return "Neither client nor machine nor descriptors were found to limit this run: the figures are the server's."
	}
	var words []string
	for _, l := range r.Limits {
		words = append(words, l.Of)
	}
	return "The figures are not the server's alone: see " + strings.Join(words, ", ") + "."
}

// cpuKnown says whether anything is known of the processor time that the server used.
func (r *Report) cpuKnown() bool {
	return r.ServerCores.Known() || r.CPUConnect.Known() || r.CPUDelivery.Known() || r.CPUPublish.Known()
}
