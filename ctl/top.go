// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/admin"
)

func topCommand() *cli.Command {
	return &cli.Command{
		Name:  "top",
		Usage: "watch what the members do, live",
		Description: `Speaks to the socket; the member asks the others for their metrics. In a terminal
it draws until q or Ctrl-C; elsewhere it prints one frame after the other. Rates
are of the last interval. P50 and P99 are times that half, or 99 of a hundred,
requests or fsyncs of the log did not exceed. BEHIND is how many entries a member
has yet to apply. With --json a frame is one line.

Examples:
  cleatctl top
  cleatctl top --once --json`,
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "interval", Value: time.Second, Usage: "look again after `TIME`"},
			&cli.BoolFlag{Name: "once", Usage: "print what one interval has seen, and end"},
		},
		Action: top,
	}
}

func top(c *cli.Context) error {
	if c.NArg() > 0 {
		return misuse("top takes no argument")
	}
	if c.Duration("interval") < 100*time.Millisecond {
		return misuse("--interval %s is too short to count anything: give 100ms or more", c.Duration("interval"))
	}
	s, err := open(c, adminForms, chooseSocket)
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	in, fromPerson := c.App.Reader.(*os.File)
	out, _ := c.App.Writer.(*os.File)
	if c.Bool("once") || s.out.form == jsonForm || !fromPerson || !terminal(in) || !terminal(c.App.Writer) {
		return s.frames(ctx, s.printFrame)
	}
	shown, err := openScreen(ctx, in, out, stop)
	if err != nil {
		return err
	}
	return errors.Join(s.frames(ctx, func(f frame, failed error) error {
		return shown.draw(append(f.lines(), "", "q ends", wordOf(failed)))
	}), shown.Close())
}

// wordOf is what kept the last look from seeing anything.
func wordOf(err error) string {
	if err == nil {
		return ""
	}
	return "no answer at the last look: " + withoutCode(err.Error())
}

// printFrame is for whoever cannot see a frame that is not printed.
func (s *session) printFrame(f frame, failed error) error {
	if failed != nil {
		return failed
	}
	return s.out.print(answer{json: f, simple: func(p *printer) {
		for _, line := range f.lines() {
			p.linef("%s", line)
		}
		p.linef("")
	}})
}

// frames shows one frame an interval until ctx ends. The error of a look that
// saw nothing comes with the frame before; the first look must see something.
func (s *session) frames(ctx context.Context, show func(frame, error) error) error {
	before, err := s.look(ctx)
	if err != nil {
		return err
	}
	last := before.since(before)
	again := time.NewTicker(s.c.Duration("interval"))
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
		now, failed := s.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if failed == nil {
			last, before = now.since(before), now
		}
		if err := show(last, failed); err != nil || s.c.Bool("once") {
			return err
		}
	}
}

func (s *session) look(ctx context.Context) (taken, error) {
	ctx, cancel := context.WithTimeout(ctx, s.c.Duration("command-timeout"))
	defer cancel()
	status, err := admin.NewAdminClient(s.ActiveConnection()).Status(ctx, &admin.StatusRequest{Members: true, Metrics: topMetrics})
	if err != nil {
		return taken{}, fmt.Errorf("ask for the metrics: %w", err)
	}
	if len(status.GetMembers()) == 0 {
		return taken{}, errors.New("ask for the metrics: this member does not tell them: it is older than this program, or was not taken in yet")
	}
	return take(status)
}
