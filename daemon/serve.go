// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"os"

	"github.com/cleatd/cleat/api"
	"github.com/cleatd/cleat/auth"
)

// serve opens the doors to callers.
func (d *Daemon) serve(run context.Context) error {
	tokens, err := auth.ParseTokenSetting(d.config().AuthToken)
	if err != nil {
		return fmt.Errorf("%w: auth-token: %w", ErrConfig, err)
	}
	d.memory = memory(d.config().MemoryBytes, d.goLimit, d.log)
	d.passwords = auth.NewPasswords(int(d.config().BcryptCost))
	d.server, err = api.New(api.Config{
		Node: d.node, Machine: d.machine, Hub: d.hub, Keeper: d.keeper,
		ClusterID: d.dir.clusterID(), MemberID: d.dir.memberID(), Version: d.version,
		Members: members{d}, Ask: d.askLeader,
		Passwords: d.passwords, JWT: tokens, Limits: d.limits(),
		MinLeaseTTL: d.config().minLeaseTTL(), RequestTimeout: d.config().requestTimeout(),
		Room: d.room, Disk: d.space.Enough,
		SocketUsers:   socketUsers(d.doors.socket[0].Addr().String(), os.Getuid()),
		RegisterAdmin: d.office.Register,
		Tracer:        d.tracer(),
		Logger:        d.log, Registerer: d.registry, Gatherer: d.registry,
		Snapshot: d.snapshot,
		Revoked:  d.pki.Revoked, Refused: d.refusedAt(doorClient),
	})
	if err != nil {
		return err
	}
	for _, l := range d.doors.socket {
		d.keep(run, "door "+doorSocket, func(context.Context) error { return d.server.ServeSocket(l.lend()) })
	}
	for _, l := range d.doors.client() {
		d.serveClients(run, l)
	}
	d.keepTrust(run)
	if err := d.openCA(); err != nil {
		return err
	}
	for _, l := range d.doors.ca() {
		d.serveCA(run, l)
	}
	d.keep(run, "doors that move", d.serveMoved)
	d.keep(run, "certificates", d.pki.Run) // once there is a leader to tell
	d.keep(run, "rotation of the CA", func(ctx context.Context) error {
		return d.node.Lead(ctx, func(ctx context.Context) error { return d.pki.Lead(ctx, caMembers{d}) })
	})
	told := []any{"name", d.config().Name}
	for _, door := range []struct{ name, at string }{{"peer", d.doorAddresses().Peer}, {"ca", d.doorAddresses().Ca}} {
		if door.at != "" {
			told = append(told, door.name, door.at)
		}
	}
	d.log.Info("ready", append(told, "socket", d.doors.socket[0].Addr(), "client", d.doors.client()[0].Addr())...)
	return nil
}

// limits are what the settings let a client ask for.
func (d *Daemon) limits() api.Limits {
	c := d.config()
	return api.Limits{
		MaxRequestBytes: int(c.MaxRequestBytes), MaxTxnOps: int(c.MaxTxnOps),
		WatchProgressInterval: c.WatchProgressInterval, QuotaBytes: max(c.QuotaBytes, 0),
		MemoryBytes: d.memory,
	}
}

func (d *Daemon) serveClients(run context.Context, l *lasting) {
	d.keep(run, "door "+doorClient, func(context.Context) error {
		if err := d.server.ServeTLS(l.lend(), d.pki.ClientDoor()); !l.retired.Load() {
			return err
		}
		return nil
	})
}

// moved is a door that a reload has opened.
type moved struct {
	name string
	to   *lasting
}

// serveMoved serves the doors that reloads open.
func (d *Daemon) serveMoved(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-d.moved:
			if m.name == doorCA {
				d.serveCA(ctx, m.to)
			} else {
				d.serveClients(ctx, m.to)
			}
		}
	}
}
