package report

// Shares past which the report says that something was at its limit.
const (
	busyLimit    = 0.9
	machineLimit = 0.95
	shortfall    = 0.98
	otherLimit   = 0.15           // of the machine
	delayLimit   = Figure(10_000) // µs
)

// Judge says whether the client, or the machine that it shares with the server, limited what was measured.
func (r *Report) Judge() {
	cores := Figure(r.Machine.Cores)
	if r.ClientBusy > busyLimit {
		r.ClientLimited = true
		r.Note("the client was at its limit: its busiest loop had work %.0f %% of the time; "+
			"the server may be able to do more than this", 100*r.ClientBusy)
	}
	if r.ClientCores+r.ServerCores > machineLimit*cores {
		r.Note("the machine was at its limit: server and client used %.2f of %.0f cores", r.ClientCores+r.ServerCores, cores)
	}
	if r.OtherCores > otherLimit*cores {
		r.Note("other programs used %.2f of %.0f cores meanwhile: measure again on a quiet machine", r.OtherCores, cores)
	}
	if r.Target.Known() && r.Delivered < shortfall*r.Target {
		r.Note("only %.0f of %.0f deliveries a second took place", r.Delivered, r.Target)
	}
	if r.Target.Known() && r.SendDelay.P99 > delayLimit {
		r.ClientLimited = true
		r.Note("the publisher fell behind its schedule: p99 %.1f ms; latencies include that", r.SendDelay.P99/1e3)
	}
}
