// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/client"
)

func renewCommand() *cli.Command {
	return &cli.Command{
		Name:  "renew",
		Usage: "renew the certificates of contexts when they are due",
		Description: `A certificate is due at a random point between 50 and 80 % of its life. Its
successor has the same name and life, and a new key; it comes from a member's ca
door, and programs that use the context take it up without a restart. One that
has ended cannot be renewed: log in again. Of what is not due yet only the roots
are brought up to date.

Renews the current context, or that of --context. cleatctl-renew.timer, a unit of
systemd for users, runs it with --all once an hour.

Examples:
  cleatctl renew --force
  cleatctl renew --all
  cleatctl renew --all --daemon`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "all contexts"},
			&cli.BoolFlag{Name: "daemon", Usage: "stay, and renew whatever becomes due, again and again where that fails"},
			&cli.BoolFlag{Name: "force", Usage: "now, due or not"},
		},
		Action: renew,
	}
}

func renew(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	switch {
	case c.Bool("all") && sourceOf(c, "context") == fromLine:
		return misuse("--all and --context exclude each other: give one of them")
	case c.Bool("daemon") && c.Bool("force"):
		return misuse("--daemon and --force exclude each other: give one of them")
	}
	out, err := newPrinter(c, adminForms)
	if err != nil {
		return err
	}
	r := renewal{c: c, out: out}
	if c.Bool("daemon") {
		return r.stay()
	}
	names, err := r.names()
	if err != nil {
		return err
	}
	return r.once(names)
}

// renewal is one run of the command.
type renewal struct {
	c   *cli.Context
	out *printer
}

// names are the contexts that are meant.
func (r renewal) names() ([]string, error) {
	if r.c.Bool("all") {
		return client.Contexts()
	}
	name, err := countingContext(r.c)
	return []string{name}, err
}

// renewed is what became of a context, as JSON.
type renewed struct {
	Context  string    `json:"context"`
	Renewed  bool      `json:"renewed"`
	RenewAt  time.Time `json:"renew_at"`
	NotAfter time.Time `json:"not_after"`
}

// once renews those that are due, each whatever becomes of the others.
func (r renewal) once(names []string) error {
	var failed []error
	for _, name := range names {
		b, err := client.Load(name)
		if err != nil {
			failed = append(failed, explainContext(name, err))
			continue
		}
		due := r.c.Bool("force") || !time.Now().Before(b.RenewAt()) || time.Now().After(b.Certificate().NotAfter)
		if due {
			err = b.Renew(r.c.Context)
		} else if refreshed := b.Refresh(r.c.Context); errors.Is(refreshed, client.ErrCluster) {
			err = refreshed // whatever else it was can wait until the certificate is due
		}
		if err == nil {
			err = r.tell(name, b, due)
		} else {
			err = renewFailure(name, err)
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

func (r renewal) tell(name string, b *client.Bundle, done bool) error {
	now := renewed{name, done, b.RenewAt().UTC().Truncate(time.Second), b.Certificate().NotAfter.UTC()}
	what := "not due before " + now.RenewAt.Format(time.RFC3339) + ", good"
	if done {
		what = "renewed, good"
	}
	return r.out.outcome(now, "Context %s: %s until %s", name, what, now.NotAfter.Format(time.RFC3339))
}

// stay renews until somebody ends it. Contexts may come and go meanwhile.
func (r renewal) stay() error {
	ctx, end := signal.NotifyContext(r.c.Context, syscall.SIGINT, syscall.SIGTERM)
	defer end()
	var rounds client.Renewer
	broken := map[string]string{} // what was told of a context that cannot be opened
	for ctx.Err() == nil {
		names, err := r.names()
		if err != nil {
			return err
		}
		bundles, nameOf := r.load(names, broken)
		next := rounds.Round(ctx, bundles, func(b *client.Bundle, err error) {
			if err == nil {
				err = r.tell(nameOf[b], b, true)
			}
			if err != nil {
				note(r.c, "%v", renewFailure(nameOf[b], err))
			}
		})
		wait(ctx, next)
	}
	return nil
}

// load opens the contexts, and says of one that cannot be opened why, once.
func (r renewal) load(names []string, broken map[string]string) ([]*client.Bundle, map[*client.Bundle]string) {
	var bundles []*client.Bundle
	nameOf := map[*client.Bundle]string{}
	for _, name := range names {
		b, err := client.Load(name)
		if err != nil {
			if text := plainly(explainContext(name, err).Error()); broken[name] != text {
				broken[name] = text
				note(r.c, "%s", text)
			}
			continue
		}
		delete(broken, name)
		bundles, nameOf[b] = append(bundles, b), name
	}
	return bundles, nameOf
}

func wait(ctx context.Context, until time.Time) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// renewFailure says what keeps a context from being renewed.
func renewFailure(name string, err error) error {
	text := strings.ReplaceAll(plainly(err.Error()), "\n", "; ")
	var refused *client.Refused
	if errors.Is(err, client.ErrExpired) || errors.Is(err, client.ErrCluster) || errors.As(err, &refused) && refused.Code == 403 {
		return fmt.Errorf("renew context %s: %s: log in again: %s", name, text, loginLine)
	}
	return fmt.Errorf("renew context %s: %s", name, text)
}
