// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/client"
)

// loginLine is what to type when a bundle is no good any more.
const loginLine = "cleatctl login HOST --token TOKEN, with one from cleatctl token create --client NAME on a member"

// currentDoor is the way of the current context, whose name was read from a file.
func currentDoor(c *cli.Context, name string, files client.Config, err error) (door, error) {
	if err != nil {
		return door{}, fmt.Errorf("read which context is the current one: %w", err)
	}
	return contextDoor(c, name, files)
}

// contextDoor is the way that a context names. Whatever of it is named at least
// as strongly by a flag of its own counts instead; of what nobody has named, the
// current context, it is whatever is named at all.
func contextDoor(c *cli.Context, name string, files client.Config) (door, error) {
	bundle, err := client.Load(name)
	if err != nil {
		return door{}, explainContext(name, err)
	}
	instead := func(flag string) bool {
		from := sourceOf(c, flag)
		return from != fromDefault && from >= sourceOf(c, "context")
	}
	own := bundle.Files()
	if !instead("cacert") {
		files.CACert = own.CACert
	}
	if !instead("cert") {
		files.Cert, files.Key = own.Cert, own.Key
		if err := fresh(c, name, bundle); err != nil {
			return door{}, err
		}
	}
	endpoints := bundle.Endpoints()
	if instead("endpoints") || instead("discovery-srv") {
		if endpoints, err = askedEndpoints(c); err != nil {
			return door{}, err
		}
	}
	way := doorTo(endpoints, files, askedTrust(c))
	way.context = name
	return way, nil
}

// fresh refuses a certificate that every member would refuse, and tells of one
// that somebody should have renewed.
func fresh(c *cli.Context, name string, b *client.Bundle) error {
	leaf, due := b.Certificate(), b.RenewAt()
	switch now := time.Now(); {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the certificate of context %s, user %s, ended at %s: log in again: %s",
			name, leaf.Subject.CommonName, leaf.NotAfter.UTC().Format(time.RFC3339), loginLine)
	case now.After(due.Add(leaf.NotAfter.Sub(due) / 2)):
		note(c, "the certificate of context %s ends at %s and is long due: cleatctl renew does it now, systemctl --user enable --now cleatctl-renew.timer from now on",
			name, leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// explainContext says what to do about a context that there is not.
func explainContext(name string, err error) error {
	switch {
	case errors.Is(err, client.ErrNoContext):
		return fmt.Errorf("%s: cleatctl context list shows those that there are; to make one: %s", plainly(err.Error()), loginLine)
	case errors.Is(err, client.ErrContextName):
		return misuse("--context: %s", plainly(err.Error()))
	}
	return fmt.Errorf("open context %s: %s", name, plainly(err.Error()))
}

func contextCommand() *cli.Command {
	return &cli.Command{
		Name:  "context",
		Usage: "the clusters that cleatctl login has made known here",
		Description: `The current context counts when neither --context, --endpoints, --discovery-srv nor
--socket is given, on the line or in the environment.

Example:
  cleatctl context use prod`,
		Subcommands: []*cli.Command{contextListCommand(), contextUseCommand(), contextShowCommand()},
	}
}

// contextRow is a context as list and show tell of it.
type contextRow struct {
	Name      string    `json:"name"`
	Current   bool      `json:"current"`
	User      string    `json:"user"`
	Endpoints []string  `json:"endpoints"`
	NotAfter  time.Time `json:"not_after"`
	RenewAt   time.Time `json:"renew_at"`
	Serial    string    `json:"serial"`
	Dir       string    `json:"dir"`
	Fault     string    `json:"fault,omitempty"` // why the rest is missing
}

func readContext(name string) contextRow {
	row := contextRow{Name: name}
	if current, err := client.CurrentContext(); err == nil {
		row.Current = current == name
	}
	b, err := client.Load(name)
	if err != nil {
		row.Fault = plainly(err.Error())
		return row
	}
	leaf := b.Certificate()
	row.User, row.Serial, row.NotAfter = leaf.Subject.CommonName, leaf.SerialNumber.String(), leaf.NotAfter.UTC()
	row.Endpoints, row.RenewAt, row.Dir = b.Endpoints(), b.RenewAt().UTC().Truncate(time.Second), b.Dir()
	return row
}

// until says of a context whether it is good.
func (r contextRow) until() string {
	switch {
	case r.Fault != "":
		return r.Fault
	case time.Now().After(r.NotAfter):
		return "expired at " + r.NotAfter.Format(time.RFC3339)
	}
	return r.NotAfter.Format(time.RFC3339)
}
