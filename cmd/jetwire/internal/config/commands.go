package config

import (
	"errors"
	"fmt"
)

// Commands says how commands to backends are kept until they are handled.
type Commands struct {
	MaxAge      Duration `yaml:"max_age"`   // one that nobody has handled for so long is dropped; 0: never
	MaxBytes    Size     `yaml:"max_bytes"` // past it commands are refused
	DedupWindow Duration `yaml:"dedup_window"`
	Storage     string   `yaml:"storage,omitempty"`  // file (default) or memory
	Replicas    int      `yaml:"replicas,omitempty"` // 0: as the default namespace
}

// DeadLetters says how long is kept what could not be delivered. Storage and replicas are those of Commands.
type DeadLetters struct {
	MaxAge   Duration `yaml:"max_age"`
	MaxBytes Size     `yaml:"max_bytes"` // past it the oldest go
}

func (c *Config) checkCommands() error {
	var errs []error
	switch s := c.Commands.Storage; s {
	case "", "file", "memory":
	default:
		errs = append(errs, fmt.Errorf("commands.storage: %q is neither file nor memory", s))
	}
	if r := c.Commands.Replicas; r < 0 || r > 5 {
		errs = append(errs, errors.New("commands.replicas: NATS keeps 1 to 5"))
	} else if r > 1 && c.NATS.URL == "" {
		errs = append(errs, errors.New("commands.replicas: the embedded NATS server is one; more need a cluster, which nats.url names"))
	}
	if a := c.Commands.MaxAge; a != 0 && a < 1e8 {
		errs = append(errs, errors.New("commands.max_age: NATS wants at least 100ms"))
	}
	if c.Limits.CallTimeout > Duration(3600e9) {
		errs = append(errs, errors.New("limits.call_timeout: more than an hour"))
	}
	return errors.Join(errs...)
}
