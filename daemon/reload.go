// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/auth"
)

// A reload takes over as a whole or not at all. What can go wrong comes first, and
// is undone when something after it does:
//
//	read and check ─ set apart what needs a start ─ open doors ─ make certificate
//	      │ fault: refused        │ waits, and is named   │ fault: refused, the
//	      ▼                       ▼                       ▼ doors are closed again
//	the old settings stay                       then nothing can go wrong any more

// change is a setting that has another value.
type change struct{ name, old, now string }

// outcome is what came of a reload.
type outcome struct {
	changed, waiting []change
	err              error
}

// applyReload takes over what may change in a running member, or refuses all of
// it. The log, systemd and whoever asked are told.
func (d *Daemon) applyReload() outcome {
	notifyReloading(d.log, "reloading")
	o := d.reloadSettings()
	if o.err != nil {
		why := oneLine(o.err)
		d.refused.Store(&why)
		d.log.Error("the new configuration is refused, the old one stays in force", "cause", why)
	} else {
		d.refused.Store(nil)
		for _, c := range o.changed {
			d.log.Info("setting changed", "setting", c.name, "old", c.old, "new", c.now)
		}
		for _, c := range o.waiting {
			d.log.Warn("this setting changes with the next start only", "setting", c.name, "old", c.old, "new", c.now)
		}
		d.log.Info("reloaded", "log_level", d.config().LogLevel, "changed", len(o.changed), "waiting", len(o.waiting))
	}
	notify(d.log, ready(d.statusText()))
	return o
}

func (d *Daemon) reloadSettings() (o outcome) {
	next := *d.config()
	if d.reload != nil {
		if next, o.err = d.reload(); o.err != nil {
			return o
		}
	}
	if o.err = d.fits(&next); o.err != nil {
		return o
	}
	next, o.changed, o.waiting = d.setApart(next)
	if o.err = next.Validate(); o.err != nil {
		return o
	}
	advertised := d.advertisedBy(&next)
	moves, err := d.doors.open(next.places(advertised))
	if err != nil {
		o.err = err
		return o
	}
	install, err := d.pki.Prepare(next.hosts(d.told(&next)), next.CertTTL)
	if err != nil {
		closeMoves(moves)
		o.err = fmt.Errorf("certificates: %w", err)
		return o
	}
	install()
	d.takeOver(next, moves)
	return o
}

// fits refuses what a start would.
func (d *Daemon) fits(next *Config) error {
	if _, err := auth.ParseTokenSetting(next.AuthToken); err != nil {
		return fmt.Errorf("%w: auth-token: %w", ErrConfig, err)
	}
	if next.DataDir == d.dir.path {
		return d.dir.fits(next.RaftLog)
	}
	return nil
}

// setApart returns the settings that can count at once; the others keep their
// values. Whether there is a peer door at all is decided at the start: raft knows
// no network without one.
func (d *Daemon) setApart(next Config) (now Config, changed, waiting []change) {
	old, now := *d.config(), next
	fixed := map[string]bool{}
	if (d.peers == nil) != (next.peerAddress(d.advertisedBy(&next)) == "") {
		fixed["advertise"], fixed["listen-peer"] = true, true
	}
	for _, s := range Settings() {
		if s.same(&old, &next) {
			continue
		}
		c := change{s.Name, s.Text(&old), s.Text(&next)}
		switch {
		case s.Count == FirstStart: // there is nothing to change here
		case s.Count == Live && !fixed[s.Name]:
			changed = append(changed, c)
		default:
			waiting = append(waiting, c)
			s.copy(&now, &old)
		}
	}
	return now, changed, waiting
}

// takeOver makes the settings count. It cannot fail.
func (d *Daemon) takeOver(next Config, moves []move) {
	d.doors.settle(moves)
	old := d.current.Swap(&configured{Config: next, replaced: make(chan struct{})})
	d.level.Set(next.LogLevel)
	d.space.reserve.Store(next.ReserveBytes)
	d.quota.resize(next.QuotaBytes)
	d.machine.Tokens().SetTTL(next.tokenTTL())
	d.passwords.SetCost(int(next.BcryptCost))
	d.sampler.set(next.TracingRate)
	if old.MemoryBytes != next.MemoryBytes {
		d.memory = memory(next.MemoryBytes, d.goLimit, d.log)
	}
	d.server.SetLimits(d.limits())
	d.ca.SetPolicy(next.acmePolicy())
	for _, m := range moves {
		for _, l := range m.to {
			d.enter(m.name, l)
			d.log.Info("door moved", "door", m.name, "to", l.Addr())
		}
		for _, l := range m.from {
			l.retire() // the new one is open
		}
	}
	if address := d.peerAddress(); address != "" && d.peers != nil {
		d.node.Move(address)
	}
	close(old.replaced) // last: who waits for it finds all of the above
}

// enter begins to serve a door that has been opened.
func (d *Daemon) enter(name string, l *lasting) {
	if name == doorPeer {
		d.peers.Listen(l.lend())
		return
	}
	d.moved <- moved{name, l}
}

// askReload is applyReload for a caller at the socket.
func (d *Daemon) askReload(ctx context.Context) (*admin.ReloadResponse, error) {
	told := make(chan outcome, 1)
	select {
	case d.reloads <- told:
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	o := <-told
	if o.err != nil {
		return nil, status.Error(codes.FailedPrecondition, oneLine(o.err))
	}
	return &admin.ReloadResponse{Changed: settingsOf(o.changed), Waiting: settingsOf(o.waiting)}, nil
}

func settingsOf(changes []change) (out []*admin.Setting) {
	for _, c := range changes {
		out = append(out, &admin.Setting{Name: c.name, Old: c.old, New: c.now})
	}
	return out
}

// whileSame does a part by the settings of these names, and anew by others when a
// reload has changed one of them. It ends with ctx, or when the part fails; a part
// that has nothing to do by its settings returns nil.
func (d *Daemon) whileSame(ctx context.Context, names []string, part func(context.Context, *Config) error) error {
	for ctx.Err() == nil {
		c := d.current.Load()
		within, cancel := context.WithCancel(ctx)
		var waiting sync.WaitGroup
		waiting.Go(func() {
			defer cancel()
			d.awaitOther(within, c, names)
		})
		err := part(within, &c.Config)
		if err == nil {
			<-within.Done()
		}
		cancel()
		waiting.Wait()
		if err != nil {
			return err
		}
	}
	return nil
}

// awaitOther returns when one of the settings is another than it was, or ctx ends.
func (d *Daemon) awaitOther(ctx context.Context, was *configured, names []string) {
	for now := was; sameIn(names, &was.Config, &now.Config); now = d.current.Load() {
		select {
		case <-ctx.Done():
			return
		case <-now.replaced:
		}
	}
}

func sameIn(names []string, a, b *Config) bool {
	for _, s := range Settings() {
		if slices.Contains(names, s.Name) && !s.same(a, b) {
			return false
		}
	}
	return true
}

// tokenTTL is how long a simple token lasts.
func (c *Config) tokenTTL() time.Duration { return time.Duration(c.AuthTokenTTL) * time.Second }
