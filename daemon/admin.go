// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cleatd/cleat/admin"
	adminserver "github.com/cleatd/cleat/admin/server"
)

// newOffice makes what answers the administrator, and other members who ask how
// this one is. It is made once the log and the certificates are open.
func (d *Daemon) newOffice() *adminserver.Server {
	return adminserver.New(adminserver.Config{
		Authority:   d.pki,
		Node:        d.node,
		Store:       d.store,
		Doors:       d.doorAddresses,
		Space:       d.spaceLeft,
		Quota:       func() int64 { return max(d.config().QuotaBytes, 0) },
		Alarms:      d.alarms,
		Metrics:     d.registry,
		Members:     d.membersTell,
		CAMembers:   caMembers{d}.IDs,
		Join:        d.join,
		Recover:     d.recover,
		Reload:      d.askReload,
		PeerAddress: d.peerAddress, LoginAddress: d.loginAddress,
		ClusterID: d.dir.clusterID(), MemberID: d.dir.memberID(),
		Name: d.config().Name, Version: d.version, DataDir: d.dir.path, Logger: d.log,
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
	for _, l := range d.doors.ca() {
		open.Ca = l.Addr().String()
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

// alarms are those that are raised, and this member's own while its disk is
// short, as etcd's API lists them too.
func (d *Daemon) alarms() []*admin.Alarm {
	var raised []*admin.Alarm
	for _, a := range d.machine.Alarms() {
		raised = append(raised, &admin.Alarm{Type: a.Type.String(), Member: a.Member})
	}
	if own, _ := d.noSpace(); !own && !d.space.Enough() {
		raised = append(raised, &admin.Alarm{Type: pb.AlarmType_NOSPACE.String(), Member: d.dir.memberID()})
	}
	return raised
}
