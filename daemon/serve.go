// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"net"

	"google.golang.org/grpc"

	"github.com/cleatd/cleat/api"
)

// serve opens the doors to callers.
func (d *Daemon) serve(run context.Context) error {
	var err error
	d.server, err = api.New(api.Config{
		Node: d.node, Machine: d.machine, Hub: d.hub, Keeper: d.keeper,
		ClusterID: d.dir.clusterID(), MemberID: d.dir.memberID(), Name: d.config.Name,
		ClientURLs: d.clientURLs, PeerURLs: func() []string { return nil }, Version: d.version,
		MaxRequestBytes: int(d.config.MaxRequestBytes), MaxTxnOps: int(d.config.MaxTxnOps),
		MinLeaseTTL: d.config.minLeaseTTL(), RequestTimeout: d.config.requestTimeout(),
		WatchProgressInterval: d.config.WatchProgressInterval,
		Space:                 d.space.Enough,
		SocketUsers:           socketUsers(d.doors.socket[0].Addr().String()),
		RegisterAdmin:         func(r grpc.ServiceRegistrar) { d.registerAdmin(r) },
		Logger:                d.log, Registerer: d.registry, Gatherer: d.registry,
	})
	if err != nil {
		return err
	}
	for _, l := range d.doors.socket {
		d.keep(run, "door "+doorSocket, func(context.Context) error { return d.server.ServeSocket(l) })
	}
	for _, l := range d.doors.client {
		d.keep(run, "door "+doorClient, func(context.Context) error { return d.server.ServeTLS(l, d.pki.ClientDoor()) })
	}
	d.log.Info("ready", "name", d.config.Name, "socket", d.doors.socket[0].Addr(), "client", d.doors.client[0].Addr())
	return nil
}

// clientURLs are where clients reach this member, as a member list tells them.
func (d *Daemon) clientURLs() []string {
	var urls []string
	for _, l := range d.doors.client {
		host, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			continue // not a TCP address: nobody could dial it
		}
		if d.config.Advertise != "" {
			host = d.config.Advertise
		}
		urls = append(urls, "https://"+net.JoinHostPort(trimBrackets(host), port))
	}
	return urls
}
