package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/cmd/jetwire/internal/config"
	"github.com/jetwire/jetwire/gateway/auth"
)

const defaultTTL = 24 * time.Hour

func parseDuration(s string) (time.Duration, error) {
	d, err := config.ParseDuration(s)
	return time.Duration(d), err
}

func (p *program) tokenCommand() *cli.Command {
	ttl := config.Duration(defaultTTL)
	return &cli.Command{
		Name:  "token",
		Usage: "sign a token with the server's secret and print it",
		Description: "A token that names no pattern for an operation leaves it to the namespaces' rules; one that does allows nothing else.\n" +
			"In a pattern * is one part of a channel's name, > at its end the rest, and {user} the user. An empty pattern ('') names\n" +
			"none and so allows nothing. A token can be taken back by its user or its id (POST /v1/revoke); a short time to live is better.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "user", Usage: "the user's `ID`"},
			&cli.GenericFlag{Name: "ttl", Usage: "`TIME` to live, such as 15m or 30d; 0: for ever", Value: &ttl},
			&cli.StringFlag{Name: "id", Usage: "the token's own `ID` (claim jti)"},
			&cli.StringSliceFlag{Name: "subscribe", Usage: "`PATTERN` of channels that may be subscribed to; may be repeated"},
			&cli.StringSliceFlag{Name: "publish", Usage: "`PATTERN` of channels that may be published to; may be repeated"},
			&cli.StringSliceFlag{Name: "history", Usage: "`PATTERN` of channels whose history may be read; may be repeated"},
			&cli.StringSliceFlag{Name: "presence", Usage: "`PATTERN` of channels of which may be asked who is there; may be repeated"},
			&cli.StringSliceFlag{Name: "command", Usage: "`PATTERN` of destinations that commands may be sent to; may be repeated"},
			&cli.StringSliceFlag{Name: "call", Usage: "`PATTERN` of destinations that may be called; may be repeated"},
			configFlagDef(),
		}, settingFlags(dataSettings)...),
		Action: p.token,
	}
}

func (p *program) token(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	if c.String("user") == "" {
		return usagef("--user is missing")
	}
	cfg, err := load(c, dataSettings)
	if err != nil {
		return err
	}
	secret, err := cfg.Secret()
	if err != nil {
		return &usageError{err}
	}
	g := auth.Grant{User: c.String("user"), TokenID: c.String("id"), Patterns: &auth.Patterns{}}
	for _, op := range auth.Ops() {
		g.Patterns[op] = patterns(c, op.String())
	}
	if ttl := time.Duration(*c.Generic("ttl").(*config.Duration)); ttl > 0 {
		g.Expires = time.Now().Add(ttl).UnixMilli()
	}
	token, err := cfg.Signer(secret).Sign(g)
	if err != nil {
		return usagef("cannot sign this: %w", err)
	}
	_, err = fmt.Fprintln(p.out, token)
	return err
}

// patterns returns nil if the flag was not given, else its patterns without empty ones.
func patterns(c *cli.Context, name string) []string {
	if !c.IsSet(name) {
		return nil
	}
	list := []string{}
	for _, s := range c.StringSlice(name) {
		if s != "" {
			list = append(list, s)
		}
	}
	return list
}
