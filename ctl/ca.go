// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/admin"
)

func caCommand() *cli.Command {
	return &cli.Command{
		Name:  "ca",
		Usage: "the cluster's certificate authority",
		Description: `Example:
  cleatctl ca status`,
		Subcommands: []*cli.Command{caStatusCommand(), caRotateCommand(), caImportCommand(), caLockCommand(), caUnlockCommand(), caKeyCommand()},
	}
}

func caStatusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show the CA's certificates, and how far a rotation has come",
		Description: `Of roots and intermediates the first is the one that issues. Of a rotation it
shows the step, the members that it waits for, and whose certificates end to be
good with what is dropped at its end.

Example:
  cleatctl ca status`,
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return misuse("ca status takes no argument")
			}
			return onSocket(c, adminForms, func(ctx context.Context, s *session) error {
				reply, err := admin.NewAdminClient(s.ActiveConnection()).CAStatus(ctx, &admin.CAStatusRequest{})
				if err != nil {
					return fmt.Errorf("ask for the CA: %w", err)
				}
				return s.showCA(reply)
			})
		},
	}
}

func (s *session) showCA(r *admin.CAStatusResponse) error {
	form, err := jsonOf(r)
	if err != nil {
		return err
	}
	return s.out.print(answer{json: form, simple: func(p *printer) {
		for _, c := range r.GetRoots() {
			p.certificate("root", c)
		}
		for _, c := range r.GetIntermediates() {
			p.certificate("intermediate", c)
		}
		if r.GetRotation() == nil {
			p.linef("no rotation is under way")
			return
		}
		p.rotation(r.GetRotation())
	}})
}

func (p *printer) certificate(kind string, c *admin.CACertificate) {
	key := ""
	if !c.GetHeld() {
		key = ", its key is elsewhere"
	}
	p.linef("%s: %s, until %s, SHA-256 %s%s", kind, c.GetSubject(), c.GetNotAfter().AsTime().Format(time.RFC3339), c.GetDigest(), key)
}

func (p *printer) rotation(r *admin.CARotation) {
	trust, moved := 0, 0
	for _, m := range r.GetMembers() {
		if m.GetTrusts() {
			trust++
		}
		if m.GetMoved() {
			moved++
		}
	}
	p.linef("rotation: %s, begun at %s by %s", kindOfRotation(r), r.GetBegun().AsTime().Format(time.RFC3339), r.GetBegunBy())
	p.linef("step: %s", stepOfRotation(r))
	p.linef("members: %d of %d accept both, %d have a certificate of the one that issues", trust, len(r.GetMembers()), moved)
	if !r.GetCrossed() {
		p.linef("clients that hold only the old root will not verify the new one's certificates: give them cleatctl cert issue's ca.crt, which has both, before it issues")
	}
	for _, h := range r.GetHanging() {
		p.linef("hangs on what is dropped: %s, %s, until %s", h.GetName(), count(int(h.GetCount()), "certificate"), h.GetNotAfter().AsTime().Format(time.RFC3339))
	}
	for _, w := range r.GetWaitsFor() {
		p.linef("waits: %s", w)
	}
}

func kindOfRotation(r *admin.CARotation) string {
	kind := "to an intermediate from elsewhere"
	switch r.GetKind() {
	case "root":
		kind = "of the root and the intermediate"
	case "intermediate":
		kind = "of the intermediate"
	}
	if r.GetBack() {
		return kind + ", aborted: it goes back"
	}
	return kind
}

func stepOfRotation(r *admin.CARotation) string {
	switch r.GetStep() {
	case "prepared":
		return "prepared (1 of 3): the members are to accept the new one's certificates beside the old one's"
	case "trusted":
		return "trusted (2 of 3): all members accept both, the old one still issues"
	case "issuing":
		return "issuing (3 of 3): the one that stays issues, and the other is dropped once nothing hangs on it"
	}
	return r.GetStep()
}
