// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"crypto/x509"

	"github.com/cleatd/cleat/pki"
)

// keepTrust starts what keeps the doors by the newest revocations and removals,
// and what the leader does about them.
func (d *Daemon) keepTrust(run context.Context) {
	d.keep(run, "revocations", d.pki.Follow)
	d.keep(run, "ending connections", d.dropRevoked)
	d.keep(run, "revocation lists", func(ctx context.Context) error { return d.node.Lead(ctx, d.pki.LeadCRL) })
}

// guarded is a door whose guests may have to go.
type guarded interface {
	Drop(revoked func(*x509.Certificate) bool)
}

// dropRevoked ends the connections of certificates that were revoked, and of
// members that were removed, as soon as this member's state has it.
func (d *Daemon) dropRevoked(ctx context.Context) error {
	doors := []guarded{d.server}
	if d.peers != nil {
		doors = append(doors, d.peers)
	}
	for {
		revoked, removed := d.pki.RevocationsChanged(), d.machine.MembersChanged()
		for _, door := range doors {
			door.Drop(d.pki.Revoked)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-revoked:
		case <-removed:
		}
	}
}

// refusedAt tells of those whom a door refuses.
func (d *Daemon) refusedAt(door string) func(reason, remote string, err error) {
	trust := d.pki
	return func(reason, remote string, err error) {
		trust.Refused(context.Background(), pki.Denial{Door: door, Reason: reason, Remote: remote, Err: err})
	}
}
