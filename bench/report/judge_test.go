package report

import (
	"slices"
	"strings"
	"testing"
)

func TestJudgeNamesWhatLimitedTheRun(t *testing.T) {
	for want, change := range map[string]func(r *Report){
		"":            func(*Report) {},
		LimitClient:   func(r *Report) { r.ClientBusy = 0.95 },
		LimitMachine:  func(r *Report) { r.ClientCores, r.ServerCores = 1.9, 2.05 },
		LimitOthers:   func(r *Report) { r.OtherCores = 1 },
		LimitRate:     func(r *Report) { r.Delivered = 40_000 },
		LimitSchedule: func(r *Report) { r.SendDelay.P99 = 20_000 },
		LimitFiles:    func(r *Report) { r.Files = Files{Needed: 990, Client: 1000} },
	} {
		r := fanout(5)
		r.Machine.Cores, r.Target, r.ClientCores, r.ClientBusy, r.OtherCores = 4, 50_000, 0.2, 0.2, 0.1
		change(r)
		r.Judge()
		var got []string
		for _, l := range r.Limits {
			got = append(got, l.Of)
		}
		if want == "" && len(got) != 0 || want != "" && !slices.Equal(got, []string{want}) || !strings.Contains(r.Verdict(), want) {
			t.Errorf("%q: %v; %s", want, got, r.Verdict())
		}
		if r.ClientLimited != (want == LimitClient || want == LimitSchedule) {
			t.Errorf("%q: the client limited it: %v", want, r.ClientLimited)
		}
	}
	r := New("fanout", 1)
	r.Files = Files{ServerNeeded: 5, Server: 5}
	r.Judge()
	if len(r.Limits) != 1 || !strings.Contains(r.Limits[0].Text, "server") {
		t.Errorf("%+v", r.Limits)
	}
	r = New("fanout", 1)
	if !strings.Contains(r.Verdict(), "--pid") {
		t.Error(r.Verdict())
	}
}
