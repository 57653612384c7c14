// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/client"
)

// caPort is where members give certificates unless told otherwise.
const caPort = "2381"

// loginTime is how long logging in may take when no --command-timeout is given:
// the members may have to agree on a leader first.
const loginTime = 30 * time.Second

func loginCommand() *cli.Command {
	return &cli.Command{
		Name:      "login",
		Usage:     "be given a certificate for a token, and remember the cluster",
		ArgsUsage: "HOST[:2381]",
		Description: `Takes the line that cleatctl token create printed on a member; HOST is a member
whose ca door is open (listen-ca). The key is made here and does not leave this
machine; the token says whose root to trust, and nothing is told to anybody else.
The bundle is written to contexts/NAME/ in cleat's part of your configuration
directory ($XDG_CONFIG_HOME or ~/.config), readable by you alone, and becomes the
current context: later commands need no flags. NAME is --context, or else HOST.
With --endpoints those are remembered instead of what the member tells.

Renew it now and then: systemctl --user enable --now cleatctl-renew.timer, or
cleatctl renew --daemon.

Examples:
  cleatctl login 10.0.0.1 --token cleat1.SaZ….4Kc…
  cleatctl login db.example.org:2381 --context prod --token-file - < token`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "token", Usage: "log in with this `TOKEN`; other users of this machine can see it while the command runs"},
			&cli.StringFlag{Name: "token-file", Usage: "read the token from `FILE`, - for standard input"},
			&cli.BoolFlag{Name: "force", Usage: "replace a context that is still good"},
		},
		Action: logIn,
	}
}

func logIn(c *cli.Context) error {
	if c.NArg() != 1 {
		return misuse("login needs HOST, a member whose ca door is open: type the line that cleatctl token create printed there")
	}
	address, err := memberAddress(c.Args().First(), caPort)
	if err != nil {
		return err
	}
	token, err := askedToken(c, "cleatctl token create --client NAME")
	if err != nil {
		return err
	}
	out, err := newPrinter(c, anyForm)
	if err != nil {
		return err
	}
	name := c.String("context")
	if name == "" {
		name = contextFor(address)
	}
	dir, err := client.ContextDir(name)
	if err != nil {
		return explainContext(name, err)
	}
	if !c.Bool("force") {
		if err := replaceable(name, token); err != nil {
			return err
		}
	}
	var endpoints []string
	if sourceOf(c, "endpoints") == fromLine {
		if endpoints, err = askedEndpoints(c); err != nil {
			return err
		}
	}
	patience := loginTime
	if sourceOf(c, "command-timeout") != fromDefault {
		patience = c.Duration("command-timeout")
	}
	ctx, cancel := context.WithTimeout(c.Context, patience)
	defer cancel()
	bundle, err := client.Login(ctx, address, token, dir, endpoints...)
	if err != nil {
		return loginFailure(address, err)
	}
	if err := client.UseContext(name); err != nil {
		return fmt.Errorf("make %s the current context: %w", name, err)
	}
	leaf := bundle.Certificate()
	return out.outcome(readContext(name), "Context %s: user %s at %s, good until %s", name, leaf.Subject.CommonName,
		strings.Join(bundle.Endpoints(), " "), leaf.NotAfter.UTC().Format(time.RFC3339))
}

// contextFor names a context after the host.
func contextFor(address string) string {
	host, _, _ := net.SplitHostPort(address)
	return strings.NewReplacer(":", "-", "%", "-").Replace(strings.TrimPrefix(host, "::"))
}

// replaceable refuses to overwrite what somebody may still need.
func replaceable(name, token string) error {
	there, err := client.Load(name)
	if errors.Is(err, client.ErrNoContext) || errors.Is(err, client.ErrBundle) {
		return nil
	}
	if err != nil {
		return explainContext(name, err)
	}
	same, err := there.Of(token)
	if err != nil {
		return loginFailure("", err)
	}
	const otherwise = "name another with --context, or replace it with --force"
	leaf := there.Certificate()
	if !same {
		return fmt.Errorf("context %s is of another cluster, as user %s: %s", name, leaf.Subject.CommonName, otherwise)
	}
	if time.Now().Before(leaf.NotAfter) {
		return fmt.Errorf("context %s is user %s, good until %s: %s", name, leaf.Subject.CommonName, leaf.NotAfter.UTC().Format(time.RFC3339), otherwise)
	}
	return nil
}

// loginAdvices pairs the beginnings of what is wrong with a login with what to
// try next. An answer comes as text: the sentinels stay in the member.
var loginAdvices = []struct{ part, next string }{
	{"the token is for something else", "cleatctl join is for a machine's token, and cleatctl login for one of cleatctl token create"},
	{"the token is not for this cluster", "compare HOST with the line that cleatctl token create printed, or " + newLoginToken},
	{"token unknown", newLoginToken},
	{"the token expired", newLoginToken},
	{"the token is used up", newLoginToken + "; --uses N is good for several logins"},
	{"the token was revoked", newLoginToken},
	{"the clocks differ too much", "set this machine's clock (timedatectl shows it), then log in again"},
	{"not a token", "type the whole line that cleatctl token create printed"},
	{"not a member of this cluster", "compare HOST with the line that cleatctl token create printed"},
	{"is it the ca door", "HOST must be a member with listen-ca, and the port its ca door's (cleatctl status shows it)"},
	{"connection refused", "HOST must be a member with listen-ca, and the port its ca door's (cleatctl status shows it)"},
}

const newLoginToken = "make another with cleatctl token create --client NAME on a member"

func loginFailure(address string, err error) error {
	what := "log in"
	if address != "" {
		what += " at " + address
	}
	text := plainly(err.Error())
	for _, known := range loginAdvices {
		if strings.Contains(text, known.part) {
			return fmt.Errorf("%s: %s: %s", what, text, known.next)
		}
	}
	return fmt.Errorf("%s: %s", what, text)
}

func logoutCommand() *cli.Command {
	return &cli.Command{
		Name:  "logout",
		Usage: "forget a context, its key and its certificate",
		Description: `Forgets the current context, or that of --context. To the cluster the certificate
stays good until its end; on a member it can be revoked before.

Example:
  cleatctl logout --context prod`,
		Action: logOut,
	}
}

func logOut(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	out, err := newPrinter(c, anyForm)
	if err != nil {
		return err
	}
	name, err := countingContext(c)
	if err != nil {
		return err
	}
	gone := readContext(name)
	if err := client.ForgetContext(name); err != nil {
		return explainContext(name, err)
	}
	if gone.Fault == "" && time.Now().Before(gone.NotAfter) {
		note(c, "its certificate, serial %s of user %s, is good until %s for whoever has a copy of the key", gone.Serial, gone.User, gone.until())
	}
	return out.outcome(gone, "Context %s forgotten", name)
}
