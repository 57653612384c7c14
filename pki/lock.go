// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A member that cannot open the CA's key is locked: it serves data, knows whose
// certificates are good, and issues nothing. It is so because an administrator
// wants it, or because its key is missing, damaged, or another one; either ends
// with Unlock, without a restart.

// tellOpened says how the CA was found.
func (a *Authority) tellOpened() {
	a.tellLocked()
	if why := a.Locked(); why != nil {
		a.log.Warn("the CA cannot be opened here: this member serves, and issues nothing until its key is there (cleatctl ca unlock)", "cause", why)
	}
	if h := a.vault.hold.Load(); h.plain {
		a.log.Warn("the cluster key is a credential of systemd's and lies on the disk as well: remove the file", "file", a.config.keyPath())
	}
}

// openLocked has a member that cannot make itself a certificate go on with the
// one that it has, if others can go by it.
func (a *Authority) openLocked(id *identity, locked error, reason string) error {
	if id != nil {
		leaf := id.certificate.Leaf
		err := a.verify(leaf, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
		if err == nil {
			err = a.checkMember(leaf)
		}
		if err == nil {
			a.log.Warn("certificate kept, since this member cannot make another", "because", reason)
			due := *id
			due.renew = time.Now()
			a.install(&due)
			return nil
		}
	}
	return fmt.Errorf("this member cannot make itself a certificate, and has none to serve with: %s: %w", reason, adviseOnKey(locked))
}

// Locked returns why this member issues nothing, nil if it does. The error is
// ErrLocked, ErrClusterKey or ErrSealed.
func (a *Authority) Locked() error { return a.ca().locked }

// Lock forgets the cluster key, until Unlock is called, also over a restart.
// With remove it is gone from Dir as well, which is refused with ErrOnlyKey
// unless it was exported or another member has it. What is being signed at this
// moment is still signed.
func (a *Authority) Lock(ctx context.Context, remove bool) error {
	if remove {
		if err := a.mayRemove(ctx); err != nil {
			return err
		}
	}
	if err := a.vault.shut(remove); err != nil {
		return fmt.Errorf("lock the CA: %w", err)
	}
	if err := a.reopen(); err != nil {
		return err
	}
	what := "the CA is locked here"
	if remove {
		what += ", and the cluster key removed"
	}
	a.Audit(ctx, Event{Act: ActKeys, What: what, Detail: "the member serves, and issues nothing"})
	a.nudge()
	return nil
}

// mayRemove refuses to remove the last key that anybody knows of.
func (a *Authority) mayRemove(ctx context.Context) error {
	if len(a.vault.hold.Load().credential) > 0 {
		return fmt.Errorf("%w: it is a credential of systemd's, which only its unit can leave out", ErrOnlyKey)
	}
	s, _, err := a.keyState(ctx)
	if err != nil {
		return err
	}
	id := a.ca().record.sealedWith()
	if s.Exported != nil && s.Exported.Key == id {
		return nil
	}
	holders, err := a.holders(ctx)
	if err != nil {
		return err
	}
	for _, member := range a.members() {
		if member != a.config.MemberID && slices.Contains(holders[member].Keys, id) {
			return nil
		}
	}
	return fmt.Errorf("%w: cluster key %s was not exported and no other member has it: cleatctl ca key export FILE first", ErrOnlyKey, id)
}

// Unlock opens the CA with the keys in the text, which is that of a cluster.key
// and is kept in Dir, or if there is none with those that are there. The error is
// ErrClusterKey or ErrSealed if they do not open it; then nothing has changed.
func (a *Authority) Unlock(ctx context.Context, keys []byte) error {
	var given keyring
	if len(keys) > 0 {
		var err error
		if given, err = decodeKeyring(keys, a.vault.look().credential); err != nil {
			return err
		}
	}
	// The CA may have been sealed with another key while this member could not
	// follow. If the cluster cannot be asked, what this member knows has to do.
	record := a.ca().record
	if raw, err := a.config.Ledger.Get(ctx, caBucket, []byte(caKey)); err == nil && raw != nil {
		if newest, err := decodeCA(raw); err == nil {
			record = newest
		}
	}
	err := a.vault.open(given, func(r keyring) error {
		_, err := record.unlock(a.config.Ledger, r)
		return err
	})
	if err != nil {
		return err
	}
	if err := a.reopen(); err != nil {
		return err
	}
	a.Audit(ctx, Event{Act: ActKeys, What: "the CA is unlocked here", Detail: "by cluster key " + record.sealedWith()})
	if err := a.refresh(ctx); err != nil {
		a.log.Warn("the CA is not compared with the cluster's yet", "err", err)
	}
	a.nudge()
	return nil
}

// reopen opens the CA with the keys that this member holds now.
func (a *Authority) reopen() error {
	a.saving.Lock()
	defer a.saving.Unlock()
	i, err := a.ca().record.open(a.config)
	if err != nil {
		return err
	}
	a.issuer.Store(i)
	a.tellLocked()
	a.wake()
	return nil
}

// tellLocked counts whether this member can issue.
func (a *Authority) tellLocked() {
	locked := 0.0
	if a.Locked() != nil {
		locked = 1
	}
	a.metrics.locked.Set(locked)
}

// lockedBy returns why a record cannot be opened with what a vault has, nil if
// it is no such reason.
func lockedBy(h *hold, err error) error {
	switch {
	case h.why != nil:
		return h.why
	case errors.Is(err, ErrClusterKey), errors.Is(err, ErrSealed):
		return err
	}
	return nil
}
