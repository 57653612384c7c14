// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ctl

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cleatd/cleat/admin"
)

// configFile is where the packages put the settings.
const configFile = "/etc/cleat/cleatd.toml"

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "look at this machine and its member, and say what to mend",
		Description: `Looks at settings, data directory, disk, limits, clocks, certificates, ports, the
socket, systemd and the other members, and changes nothing. It works as far as it
can while the member is down, and sees all there is as root. For the disk's speed
it writes a nameless file beside the data, a few dozen times.

The settings are those that the running member was started with, else those of
--config. Exit code 1 if there is a fault; warnings can wait.

Examples:
  cleatctl doctor
  cleatctl doctor --json`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", DefaultText: configFile + ", if it is there", Usage: "check the settings in `FILE`, which cleatd would be started with"},
		},
		Action: doctor,
	}
}

// patient is what the doctor knows before looking closer. What is not known is
// empty.
type patient struct {
	findings

	root     string // where /proc and /sys are; other than / in tests
	socket   string
	down     error // why the member does not answer
	status   *admin.StatusResponse
	members  []*pb.Member
	settings map[string]string
	dataDir  string
	pid      int
	patience time.Duration // for one connection
}

func doctor(c *cli.Context) error {
	if c.NArg() > 0 {
		return misuse("doctor takes no argument")
	}
	out, err := newPrinter(c, adminForms)
	if err != nil {
		return err
	}
	if _, err := chooseSocket(c); err != nil && sourceOf(c, "endpoints") == fromLine {
		return err
	}
	p := &patient{root: "/", patience: c.Duration("dial-timeout")}
	p.meet(c)
	p.configuration(c)
	p.examine(c.Context)
	if err := out.print(answer{
		json: struct {
			Findings findings `json:"findings"`
		}{p.findings},
		simple: func(to *printer) { to.findings(p.findings) },
	}); err != nil {
		return err
	}
	return p.verdict()
}

// meet asks the member for what it knows, if there is one.
func (p *patient) meet(c *cli.Context) {
	way, err := chooseSocket(c)
	if err != nil {
		p.socket, p.down = socketPaths()[0], err
		return
	}
	p.socket = way.socket
	client, err := way.connect(c)
	if err != nil {
		p.down = err
		return
	}
	defer func() { _ = client.Close() }() // nothing more is asked
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("command-timeout"))
	defer cancel()
	if p.status, err = admin.NewAdminClient(client.ActiveConnection()).Status(ctx, &admin.StatusRequest{Members: true}); err != nil {
		p.status, p.down = nil, fmt.Errorf("ask for the status: %w", err)
		return
	}
	p.dataDir, p.pid = p.status.GetProcess().GetDataDir(), int(p.status.GetProcess().GetPid())
	if list, err := client.MemberList(ctx, clientv3.WithSerializable()); err == nil { // else the doors of the others are not tried
		p.members = list.Members
	}
}

// examine goes from the member to what it stands on.
func (p *patient) examine(ctx context.Context) {
	p.member()
	p.directory()
	p.disk()
	p.memory()
	p.files()
	p.clock()
	p.certificates()
	p.exportedKey()
	p.ports(ctx)
	p.socketFile()
	p.systemd(ctx)
	p.versions()
}

// member is what the members tell of themselves and one another.
func (p *patient) member() {
	if p.status == nil {
		p.add(fault, "member", "cleatctl doctor again, once it runs", "the member does not answer: %s", withoutCode(p.down.Error()))
		return
	}
	doing := todo(p.status, time.Now())
	if len(doing) == 0 {
		p.add(good, "member", "", "%d of %s there, and there is nothing to do", answering(p.status), count(len(p.status.GetMembers()), "member"))
	}
	p.findings = append(p.findings, doing...)
}

func answering(s *admin.StatusResponse) (n int) {
	for _, m := range s.GetMembers() {
		if m.GetStatus() != nil {
			n++
		}
	}
	return n
}

// findings are lines under one another: grade, check, what and its mend.
func (p *printer) findings(all findings) {
	lines := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	for _, f := range all {
		fmt.Fprintf(lines, "%s\t%s\t%s\n", f.Grade, f.Check, strings.ReplaceAll(f.line(), "\n", " "))
	}
	_ = lines.Flush() // into the buffer, whose Flush tells of any failure
	p.linef("\n%s, %s, %s", count(all.count(good), "check")+" ok", count(all.count(warning), "warning"), count(all.count(fault), "fault"))
}
