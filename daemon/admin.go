// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"github.com/cleatd/cleat/admin"
	adminserver "github.com/cleatd/cleat/admin/server"
)

// newAdmin is what etcd's API lacks, for the socket door.
func (d *Daemon) newAdmin() *adminserver.Server {
	return adminserver.New(adminserver.Config{
		Authority:   d.pki,
		Node:        d.node,
		Store:       d.store,
		Doors:       d.doorAddresses,
		Space:       d.spaceLeft,
		Join:        d.join,
		Recover:     d.recover,
		Reload:      d.askReload,
		PeerAddress: d.peerAddress,
		ClusterID:   d.dir.clusterID(), MemberID: d.dir.memberID(),
		Name: d.config().Name, Version: d.version, Logger: d.log,
	})
}

// doorAddresses are those that are really listened on.
func (d *Daemon) doorAddresses() *admin.Doors {
	open := &admin.Doors{
		Socket: d.doors.socket[0].Addr().String(),
		Client: d.doors.client()[0].Addr().String(),
	}
	for _, l := range d.doors.peer() {
		open.Peer = l.Addr().String()
	}
	return open
}

func (d *Daemon) spaceLeft() *admin.Space {
	free, total, err := diskSpace(d.dir.path)
	if err != nil {
		d.log.Warn("the disk does not tell its free room", "cause", err)
		return &admin.Space{}
	}
	return &admin.Space{
		Ok: d.space.Enough(), Free: uint64(free), Reserve: uint64(reserveFor(d.config().ReserveBytes, total)),
	}
}
