// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socketGroup is the group whose members may use the socket, and so are root to
// the member.
const socketGroup = "cleat"

// clock compares this machine's with the other members', and asks the kernel
// whether anything keeps it right.
func (p *patient) clock() {
	const mend = "timedatectl set-ntp true, or start what else keeps the time"
	widest, compared := time.Duration(0), 0
	for _, m := range p.status.GetMembers() {
		if m.GetRoundTrip() != nil {
			compared++
			widest = max(widest, m.GetAhead().AsDuration().Abs()+m.GetRoundTrip().AsDuration()/2)
		}
	}
	others := "there is no other member to compare it with"
	if compared > 0 {
		others = fmt.Sprintf("it is at most %s from the clocks of %s", rough(widest), count(compared, "other member"))
	}
	var kernel unix.Timex
	state, err := unix.Adjtimex(&kernel)
	switch {
	case err != nil:
		p.add(skipped, "clock", "", "the kernel does not tell whether the clock is synchronised (%v); %s", err, others)
	case state == unix.TIME_ERROR || kernel.Status&unix.STA_UNSYNC != 0:
		p.add(warning, "clock", mend, "nothing keeps this machine's clock right; %s", others)
	default:
		p.add(good, "clock", "", "the clock is synchronised; %s", others)
	}
}

// dialed is a door that somebody should be able to come to.
type dialed struct{ whose, door, address string }

// ports tries the member's own doors and those of the others.
func (p *patient) ports(ctx context.Context) {
	if p.status == nil {
		p.add(skipped, "ports", "", "the doors of this member and of others are not known while it is down")
		return
	}
	var all []dialed
	for door, address := range map[string]string{"client": p.status.GetDoors().GetClient(), "peer": p.status.GetDoors().GetPeer()} {
		if address != "" {
			all = append(all, dialed{"this member", door, here(address)})
		}
	}
	for _, m := range p.members {
		if m.GetID() == p.status.GetMemberId() {
			continue
		}
		for door, urls := range map[string][]string{"client": m.GetClientURLs(), "peer": m.GetPeerURLs()} {
			for _, url := range urls {
				_, address := whereTo(url)
				all = append(all, dialed{nameOf(p.status, m.GetID()), door, address})
			}
		}
	}
	failures := make([]error, len(all))
	var trying sync.WaitGroup
	for i, each := range all {
		trying.Go(func() { failures[i] = each.try(ctx, p.patience) })
	}
	trying.Wait()
	open := 0
	for i, each := range all {
		if failures[i] == nil {
			open++
			continue
		}
		mend := fmt.Sprintf("open the port in the firewalls between, or correct advertise and listen-%s there", each.door)
		if each.whose == "this member" {
			mend = "look which process has the port (ss -tlnp), and whether listen-" + each.door + " is right"
		}
		p.add(fault, "ports", mend, "the %s door of %s does not take connections at %s (%v)", each.door, each.whose, each.address, failures[i])
	}
	if open > 0 {
		p.add(good, "ports", "", "%s of this member and the others take connections from here", count(open, "door"))
	}
}

func (d dialed) try(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", d.address)
	if err == nil {
		return conn.Close()
	}
	if cause := errors.Unwrap(err); cause != nil {
		return cause // the address is in what is told already
	}
	return err
}

// here is where a door that listens everywhere is found on this machine.
func here(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("localhost", port)
	}
	return address
}

// socketFile looks who gets in by the socket.
func (p *patient) socketFile() {
	info, err := os.Stat(p.socket)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.add(skipped, "socket", "", "there is no %s while the member is down", p.socket)
		return
	case err != nil:
		p.unseen("socket", err)
		return
	}
	before := len(p.findings)
	if info.Mode().Perm()&0o007 != 0 {
		p.add(warning, "socket", "chmod o= "+p.socket, "everybody may connect to %s (mode %04o), and is refused only then", p.socket, info.Mode().Perm())
	}
	gid := fmt.Sprint(info.Sys().(*syscall.Stat_t).Gid)
	group, err := user.LookupGroup(socketGroup)
	switch {
	case err != nil:
		p.add(warning, "socket", "groupadd --system "+socketGroup+", then restart the member", "there is no group %s, so root and the member's own user alone get in", socketGroup)
	case group.Gid != gid:
		p.add(warning, "socket", "chgrp "+socketGroup+" "+p.socket, "%s belongs to group %s, so the members of group %s do not get in", p.socket, groupName(gid), socketGroup)
	}
	if len(p.findings) == before {
		p.add(good, "socket", "", "root, the member's user and group %s get in by %s", socketGroup, p.socket)
	}
}

func groupName(gid string) string {
	if group, err := user.LookupGroupId(gid); err == nil {
		return group.Name
	}
	return gid
}

// versions compares this program with the member; the members among themselves
// are told apart already.
func (p *patient) versions() {
	switch theirs := p.status.GetVersion(); {
	case p.status == nil:
		p.add(skipped, "version", "", "this program is %s; the member is down", Version)
	case strings.TrimPrefix(theirs, "v") != strings.TrimPrefix(Version, "v"):
		p.add(warning, "version", "restart the member after an update (systemctl restart cleatd), and use the cleatctl beside its cleatd", "the member runs %s, and this program is %s", theirs, Version)
	default:
		p.add(good, "version", "", "the member and this program are %s", Version)
	}
}
