// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// What a member knows of the CA is one record in the ledger, ca.json beside the
// member, and one issuer behind a pointer. When the record changes, all three
// follow, on every member, without a restart:
//
//	the record is applied ── follow reads it ── ca.json is durable ── the pointer
//
// A handshake and a signature each load the pointer once.

// ca returns the CA as it is now.
func (a *Authority) ca() *issuer { return a.issuer.Load() }

// follow adopts what this member's copy of the ledger has of the CA, for as
// long as ctx lives. A copy may be older than ca.json for a while, after a
// crash; it is then not gone by, or this member would not know others by what
// it has told them that it knows.
func (a *Authority) follow(ctx context.Context) {
	if a.config.Replica == nil {
		return
	}
	for delay := firstRecord; ; {
		changed := a.config.Replica.Changed(caBucket)
		raw, err := a.config.Replica.Get(caBucket, []byte(caKey))
		if err == nil {
			err = a.adoptNewer(raw)
		}
		var again <-chan time.Time
		if err != nil {
			a.log.Warn("a change of the CA is not followed yet", "err", err, "retry_in", delay)
			again, delay = time.After(delay), min(2*delay, lastRecord)
		} else {
			delay = firstRecord
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-again:
		}
	}
}

// adoptNewer adopts a record that may be old, if it is not.
func (a *Authority) adoptNewer(raw []byte) error {
	for {
		have := a.ca()
		if raw == nil || bytes.Equal(raw, have.record.raw) {
			return nil
		}
		record, err := decodeCA(raw)
		if err != nil || record.Version <= have.record.Version {
			return err
		}
		if done, err := a.adopt(have, raw); done || err != nil {
			return err
		}
	}
}

// refresh adopts what the cluster has of the CA at this moment, whatever this
// member went by, before something is done that must not go by an older one.
func (a *Authority) refresh(ctx context.Context) error {
	for {
		have := a.ca()
		raw, err := a.config.Ledger.Get(ctx, caBucket, []byte(caKey))
		if err != nil {
			return fmt.Errorf("read the CA from the ledger: %w", err)
		}
		if raw == nil {
			return errors.New("pki: the ledger has no CA yet")
		}
		if done, err := a.adopt(have, raw); done || err != nil {
			return err
		}
	}
}

// adopt makes the CA what the record says, from the next handshake and the next
// signature on. When it returns true, the next start goes by it as well. It
// returns false if another than have counts by now.
func (a *Authority) adopt(have *issuer, raw []byte) (bool, error) {
	if bytes.Equal(raw, have.record.raw) {
		return true, nil
	}
	i, err := unlockCA(a.config, raw)
	if err != nil {
		return false, err
	}
	if i.locked != nil && have.locked == nil {
		return false, i.locked // its key is on its way, or this one is about to be locked
	}
	a.saving.Lock()
	defer a.saving.Unlock()
	if a.ca() != have {
		return false, nil
	}
	if err := writeFile(filepath.Join(a.config.Dir, caFile), raw); err != nil {
		return false, fmt.Errorf("keep the cluster's CA: %w", err)
	}
	a.issuer.Store(i)
	a.install(a.current.Load()) // the leaf stays, what is shown behind it may not
	a.revoked.lookAgain()       // what hung on a generation that was dropped is let go
	a.tellExpiry()
	a.log.Info("the CA has changed", "version", i.record.Version,
		"intermediate", i.intermediate.SerialNumber.String(), "roots", len(i.roots))
	a.wake()
	return true, nil
}

// wake has Run look again at when to renew.
func (a *Authority) wake() {
	select {
	case a.replaced <- struct{}{}:
	default: // it has yet to look
	}
}
