// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/client"
)

func contextListCommand() *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "list the contexts",
		Description: `The simple form lists name, "current" or nothing, user, endpoints and until when
the certificate is good.

Example:
  cleatctl context list -w table`,
		Action: contextList,
	}
}

func contextList(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	out, err := newPrinter(c, []string{simpleForm, jsonForm, tableForm})
	if err != nil {
		return err
	}
	names, err := client.Contexts()
	if err != nil {
		return fmt.Errorf("list the contexts: %w", err)
	}
	rows := make([]contextRow, len(names))
	for i, name := range names {
		rows[i] = readContext(name)
	}
	return out.print(answer{
		json: rows,
		simple: func(p *printer) {
			for _, row := range rows {
				p.linef("%s", strings.Join(row.cells(), ", "))
			}
		},
		table: func() table {
			all := table{{"name", "", "user", "endpoints", "good until"}}
			for _, row := range rows {
				all = append(all, row.cells())
			}
			return all
		},
	})
}

func (r contextRow) cells() []string {
	current := ""
	if r.Current {
		current = "current"
	}
	return []string{r.Name, current, r.User, strings.Join(r.Endpoints, " "), r.until()}
}

func contextUseCommand() *cli.Command {
	return &cli.Command{
		Name: "use", Usage: "make a context the current one", ArgsUsage: "NAME",
		Description: `Example:
  cleatctl context use prod`,
		Action: contextUse,
	}
}

func contextUse(c *cli.Context) error {
	name, err := oneName(c)
	if err != nil {
		return err
	}
	out, err := newPrinter(c, anyForm)
	if err != nil {
		return err
	}
	if err := client.UseContext(name); err != nil {
		return explainContext(name, err)
	}
	return out.outcome(readContext(name), "Context %s is the current one", name)
}

func contextShowCommand() *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "show a context, or the one that counts", ArgsUsage: "[NAME]",
		Description: `Example:
  cleatctl context show
  etcdctl --endpoints "$(cleatctl context show -w json | jq -r '.endpoints | join(",")')" ...`,
		Action: contextShow,
	}
}

func contextShow(c *cli.Context) error {
	if c.NArg() > 1 {
		return misuse("context show takes one NAME, or none for the context that counts")
	}
	out, err := newPrinter(c, adminForms)
	if err != nil {
		return err
	}
	name := c.Args().First()
	if name == "" {
		if name, err = countingContext(c); err != nil {
			return err
		}
	}
	if _, err := client.Load(name); err != nil {
		return explainContext(name, err)
	}
	row := readContext(name)
	return out.print(answer{json: row, simple: func(p *printer) {
		p.linef("context:    %s", row.Name)
		p.linef("current:    %t", row.Current)
		p.linef("user:       %s", row.User)
		p.linef("endpoints:  %s", strings.Join(row.Endpoints, " "))
		p.linef("good until: %s", row.until())
		p.linef("renewed at: %s", row.RenewAt.Format(time.RFC3339))
		p.linef("serial:     %s", row.Serial)
		p.linef("directory:  %s", row.Dir)
	}})
}

// countingContext is the context on the line or in the environment, or else the
// current one.
func countingContext(c *cli.Context) (string, error) {
	if name := c.String("context"); name != "" {
		return name, nil
	}
	name, err := client.CurrentContext()
	if err == nil && name == "" {
		err = errors.New("no context is the current one: name one with --context, or choose one with cleatctl context use NAME")
	}
	return name, err
}
