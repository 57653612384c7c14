// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"strings"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/cleatd/cleat/raft"
)

// What systemctl status shows of a member: one line, in the words that an
// administrator would ask for.

// statusEvery is how often a member looks whether its line is another.
const statusEvery = time.Second

func ready(line string) string { return sd.SdNotifyReady + "\nSTATUS=" + line }

// tellStatus keeps the line true.
func (d *Daemon) tellStatus(ctx context.Context) error {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for told := ""; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if now := d.statusText(); now != told {
			notify(d.log, "STATUS="+now)
			told = now
		}
	}
}

// statusText is the line.
func (d *Daemon) statusText() string {
	members, s := d.node.Members(), d.node.Status()
	parts := []string{d.role(s, members) + " of cluster " + hexID(d.dir.clusterID())}
	voters := 0
	for _, m := range members {
		if !m.Learner {
			voters++
		}
	}
	if count := fmt.Sprintf("%d members, %d of them vote", len(members), voters); len(members) > 1 {
		parts = append(parts, count)
	}
	if !d.space.Enough() {
		parts = append(parts, "writes are refused: the disk has less free room than reserve-bytes")
	}
	if raised, _ := d.noSpace(); raised {
		parts = append(parts, "writes are refused: the quota is used up")
	}
	if why := d.refused.Load(); why != nil {
		parts = append(parts, "the new configuration was refused: "+*why)
	}
	return strings.Join(parts, "; ")
}

func (d *Daemon) role(s raft.Status, members []raft.Member) string {
	own := d.dir.memberID()
	_, listed := memberAt(members, own)
	switch {
	case len(members) > 0 && !listed, len(members) == 0 && d.dir.member.Joined != nil:
		return "waiting to be taken in as a member"
	case s.Leader == own:
		return "leader"
	case s.Leader == 0:
		return "waiting for a leader, serving what needs none, as a member"
	case s.Learner:
		return "learner, behind leader " + d.nameOf(s.Leader) + ","
	}
	return "follower of " + d.nameOf(s.Leader) + ", member"
}

// nameOf is how people call a member.
func (d *Daemon) nameOf(id uint64) string {
	if row, known := d.machine.Member(id); known && row.Name != "" {
		return row.Name
	}
	return hexID(id)
}
