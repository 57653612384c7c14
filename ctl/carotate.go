// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/admin"
)

// rotateActs are the switches of ca rotate, each an act of its own.
var rotateActs = []string{"root", "intermediate", "continue", "finish", "abort"}

func untilFlag() cli.Flag {
	return &cli.StringFlag{Name: "until", Usage: "have it wait at `STEP`: prepared, trusted or issuing"}
}

func noWaitFlag() cli.Flag {
	return &cli.BoolFlag{Name: "no-wait", Usage: "return at once; it goes on by itself"}
}

func caRotateCommand() *cli.Command {
	return &cli.Command{
		Name:  "rotate",
		Usage: "put another root or intermediate in the place of the one that issues",
		Description: `A rotation goes on by itself, whoever leads, and over restarts; this command
watches it. At no moment is a client refused that holds the old root or the new
one. It ends when all members have new certificates and nobody else's hangs on the
old one any more, or with --finish --force, which cuts those off. Join tokens of
before are good until then. --abort goes back.

Examples:
  cleatctl ca rotate --root
  cleatctl ca rotate --root --until trusted
  cleatctl ca rotate --continue`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "root", Usage: "make a new root, and a new intermediate below it"},
			&cli.BoolFlag{Name: "intermediate", Usage: "make a new intermediate below the root that there is"},
			&cli.BoolFlag{Name: "continue", Usage: "have a rotation go on that waits"},
			&cli.BoolFlag{Name: "finish", Usage: "drop the old one now"},
			&cli.BoolFlag{Name: "abort", Usage: "give the rotation up"},
			&cli.BoolFlag{Name: "force", Usage: "with --finish: also if certificates hang on it"},
			untilFlag(), noWaitFlag(),
		},
		Action: caRotate,
	}
}

func caRotate(c *cli.Context) error {
	var acts []string
	for _, act := range rotateActs {
		if c.Bool(act) {
			acts = append(acts, act)
		}
	}
	switch {
	case c.NArg() > 0 || len(acts) != 1:
		return misuse("ca rotate needs one of --%s", strings.Join(rotateActs, ", --"))
	case c.Bool("force") && !c.Bool("finish"):
		return misuse("--force goes with --finish")
	case c.String("until") != "" && (c.Bool("finish") || c.Bool("abort")):
		return misuse("--until goes with --root, --intermediate or --continue")
	}
	if err := checkUntil(c); err != nil {
		return err
	}
	return rotating(c, func(ctx context.Context, calls admin.AdminClient) (*admin.CAStatusResponse, error) {
		return calls.RotateCA(ctx, &admin.RotateCARequest{Act: acts[0], Until: c.String("until"), Force: c.Bool("force")})
	})
}

func checkUntil(c *cli.Context) error {
	if steps := []string{"", "prepared", "trusted", "issuing"}; !slices.Contains(steps, c.String("until")) {
		return misuse("--until %s is none of prepared, trusted, issuing", c.String("until"))
	}
	return nil
}

// rotating makes the call, and watches what has come of it.
func rotating(c *cli.Context, call func(context.Context, admin.AdminClient) (*admin.CAStatusResponse, error)) error {
	s, err := open(c, adminForms, chooseSocket)
	if err != nil {
		return err
	}
	defer s.Close()
	calls := admin.NewAdminClient(s.ActiveConnection())
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("command-timeout"))
	reply, err := call(ctx, calls)
	cancel()
	if err != nil {
		return err // which names the rotation
	}
	if !c.Bool("no-wait") {
		if reply, err = s.watchRotation(calls, reply); err != nil {
			return err
		}
	}
	return s.showCA(reply)
}

// watchRotation tells of each step until the rotation is over, or waits for what
// only a person can bring about, or time. --command-timeout bounds it if it was
// given.
func (s *session) watchRotation(calls admin.AdminClient, now *admin.CAStatusResponse) (*admin.CAStatusResponse, error) {
	ctx, cancel := context.WithCancel(s.c.Context)
	defer cancel()
	if sourceOf(s.c, "command-timeout") != fromDefault {
		ctx, cancel = context.WithTimeout(ctx, s.c.Duration("command-timeout"))
		defer cancel()
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	seen, since, told := "", time.Now(), ""
	for {
		r := now.GetRotation()
		if r == nil {
			return now, nil
		}
		line := r.GetStep() + waiting(r)
		if line != seen {
			seen, since = line, time.Now()
		}
		if line != told && (settled(r) || time.Since(since) > progressAfter) { // what is shorter needs nobody
			note(s.c, "%s", line)
			told = line
		}
		if settled(r) {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the rotation goes on by itself (%s): cleatctl ca status shows how far it is", r.GetStep())
		case <-look.C:
		}
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		next, err := calls.CAStatus(attempt, &admin.CAStatusRequest{})
		cancel()
		if err == nil { // else a member begins anew, or another is to lead
			now = next
		}
	}
}

// settled says that the rotation waits, and no member is to do anything.
func settled(r *admin.CARotation) bool {
	for _, m := range r.GetMembers() {
		if !m.GetTrusts() || r.GetStep() == "issuing" && !m.GetMoved() {
			return false
		}
	}
	return len(r.GetArriving()) == 0 && len(r.GetWaitsFor()) > 0
}

func waiting(r *admin.CARotation) string {
	if len(r.GetWaitsFor()) == 0 {
		return ""
	}
	return ": " + strings.Join(r.GetWaitsFor(), "; ")
}
