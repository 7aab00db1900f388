package main

import "time"

// slackVariable names the variable with the timer slack. It has no flag: it is needed before any is read.
const slackVariable = "JETWIRE_TIMER_SLACK"

const (
	timerSlack     = time.Millisecond
	mostTimerSlack = 10 * time.Millisecond
)

// slackOf is how much later timers may fire: 0 leaves them as they are, as everything but serve does.
func slackOf(args []string, value string) time.Duration {
	if len(args) < 2 || args[1] != "serve" {
		return 0
	}
	if slack, err := time.ParseDuration(value); err == nil && slack >= 0 && slack <= mostTimerSlack {
		return slack
	}
	return timerSlack
}
