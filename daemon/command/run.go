// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/daemon"
)

// flags are the daemon's settings, all of them text: the daemon reads and
// checks them the same way wherever they come from.
func flags() []cli.Flag {
	list := []cli.Flag{configFlag()}
	for _, s := range daemon.Settings() {
		list = append(list, &cli.StringFlag{Name: s.Name, Usage: s.Usage + " [" + s.Count.String() + "]"})
	}
	return list
}

func configFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", EnvVars: []string{"CLEATD_CONFIG"}, Usage: "read settings from `FILE` (TOML)"}
}

// load reads the settings from all their places.
func load(c *cli.Context) (daemon.Config, error) {
	return daemon.Load(c.String("config"), os.Environ(), given(c))
}

// given are the settings that the command line has.
func given(c *cli.Context) map[string]string {
	values := make(map[string]string)
	for _, s := range daemon.Settings() {
		if c.IsSet(s.Name) {
			values[s.Name] = c.String(s.Name)
		}
	}
	return values
}

func (b Build) run(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%w: unexpected argument %q; cleatd takes only flags", daemon.ErrConfig, c.Args().First())
	}
	config, err := load(c)
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	level.Set(config.LogLevel)
	log := daemon.NewLogger(os.Stderr, level)
	if err := daemon.HideMemory(); err != nil {
		log.Warn("a core file of this process may have keys in it", "cause", err)
	}
	d, err := daemon.Open(c.Context, daemon.Options{
		Config: config, Reload: func() (daemon.Config, error) { return load(c) },
		Level: level, Logger: log, Version: b.Version,
	})
	if err != nil && c.Context.Err() != nil {
		log.Info("stopped while starting", "cause", err)
		return nil
	}
	if err != nil {
		return err
	}
	err = d.Run(c.Context)
	if closing := d.Close(); closing != nil && err != nil {
		log.Warn("closing after a failure", "cause", closing) // most likely its consequence
	} else if closing != nil {
		err = closing
	}
	return err
}
