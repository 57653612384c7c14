// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// terms are what this member's certificates say beside who it is, and how long
// they live.
type terms struct {
	hosts []string // checked, each once
	ttl   time.Duration
}

// Reload reads this member's key and certificate from its file again and
// serves with them, if they are good; otherwise it changes nothing and the
// error says what is wrong with the file.
func (a *Authority) Reload() error {
	t := a.terms.Load()
	install, err := a.Prepare(t.hosts, t.ttl)
	if err != nil {
		return err
	}
	install()
	return nil
}

// Prepare is Reload for a member whose certificates are to name other hosts from
// now on, beside its name, or to have another life; then it also makes a new one.
// What it returns has the next handshakes go by all of this, cannot fail, and must
// be called: renewals wait for it. On an error nothing has changed; it is
// ErrName or ErrTTL where that is what is wrong.
func (a *Authority) Prepare(hosts []string, ttl time.Duration) (install func(), err error) {
	next := &terms{}
	if next.hosts, err = memberHosts(a.config.Name, hosts); err != nil {
		return nil, err
	}
	if next.ttl, err = checkTTL(ttl, DefaultMemberTTL); err != nil {
		return nil, fmt.Errorf("members: %w", err)
	}
	a.saving.Lock()
	defer func() {
		if err != nil {
			a.saving.Unlock()
		}
	}()
	now := a.terms.Load()
	id, err := a.load()
	if err != nil {
		return nil, fmt.Errorf("reload %s: %w", a.identityPath(), err)
	}
	what := "certificate reloaded"
	changed := now.ttl != next.ttl || !slices.Equal(now.hosts, next.hosts)
	if changed {
		what = "certificate made"
		if id, err = a.makeUnrecorded(next); err != nil {
			return nil, err
		}
	}
	return func() {
		defer a.saving.Unlock()
		if changed {
			a.terms.Store(next)
			a.recordLater()
		}
		if id.certificate.Leaf.Equal(a.current.Load().certificate.Leaf) {
			return
		}
		a.install(id)
		a.wake()
		a.logIdentity(what)
		a.noteIdentity(ActRenew, what, "by a reload")
	}, nil
}

// makeUnrecorded makes and keeps an identity without the ledger. The caller holds
// saving.
func (a *Authority) makeUnrecorded(t *terms) (*identity, error) {
	i, err := a.ca().unrecorded()
	if err != nil {
		return nil, err
	}
	key, chain, err := a.makeIdentity(context.Background(), i, t) // nothing that it waits for
	if err != nil {
		return nil, err
	}
	return newIdentity(key, chain), a.save(key, chain)
}
