package main

import (
	"crypto/tls"
	"fmt"
	"net"

	"github.com/urfave/cli/v2"
)

func (p *program) configCommand() *cli.Command {
	flags := append([]cli.Flag{configFlagDef()}, settingFlags(serverSettings, dataSettings)...)
	return &cli.Command{
		Name:  "config",
		Usage: "look at the configuration that serve would run with",
		Subcommands: []*cli.Command{
			{
				Name: "show", Flags: flags, Action: p.configShow,
				Usage: "print it as YAML: the defaults, under the file, the environment and the flags; secrets are hidden",
			},
			{
				Name: "check", Flags: flags, Action: p.configCheck,
				Usage: "say whether serve would accept it, without starting anything",
			},
		},
	}
}

func (p *program) configShow(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	cfg, err := load(c, serverSettings, dataSettings)
	if err != nil {
		return err
	}
	text, err := cfg.Show()
	if err != nil {
		return err
	}
	_, err = p.out.Write(text)
	return err
}

func (p *program) configCheck(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	cfg, err := load(c, serverSettings, dataSettings)
	if err != nil {
		return err
	}
	if err := cfg.CheckListen(c.Context, net.DefaultResolver.LookupIPAddr); err != nil {
		return err
	}
	if cfg.TLS.Cert != "" {
		if _, err := tls.LoadX509KeyPair(cfg.TLS.Cert, cfg.TLS.Key); err != nil {
			return usagef("tls: %w", err)
		}
	}
	if cfg.HasKeys() { // a secret that would be made is not made here
		if _, _, _, err := cfg.Trust(nil); err != nil {
			return usagef("token: %w", err)
		}
	}
	if _, err := cfg.Endpoints(); err != nil {
		return &usageError{err}
	}
	_, err = fmt.Fprintln(p.out, "the configuration is good")
	return err
}
