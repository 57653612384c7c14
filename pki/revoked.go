// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/x509"
	"fmt"
	"maps"
	"math/big"
	"sync/atomic"
	"time"
)

// Who was revoked is asked at every handshake, so it lies in memory:
//
//	ledger, pki/revoked_x509_certs ── Follow ── revoked ──┬─ VerifyConnection: nobody new
//	state, removed members ── Config.Removed ─────────────┴─ Revoked: doors end what there is
//
// A door that has let somebody in notes the connection first and asks Revoked
// then; whoever follows RevocationsChanged goes through the noted ones after the
// set has changed. So a connection that is made at that moment is seen by one of
// the two.

const revokedBucket = bucketPrefix + revokedTable

// revoked is the set in memory.
type revoked struct {
	set     atomic.Pointer[serials] // written by openRevoked, Follow and adopt
	kept    map[string]int64        // what Dir had when this member started
	doubted atomic.Int64            // when the others doubted last, as a Unix time in ns
}

// serials are certificates by their numbers; they never change.
type serials struct {
	all     map[string]int64 // until when each counts, as a Unix time, 0: always; by the number's bytes
	changed chan struct{}    // closed when there is another set
}

func (r *revoked) has(serial *big.Int) bool {
	s := r.set.Load()
	if s == nil || len(s.all) == 0 {
		return false
	}
	_, has := s.all[string(serial.Bytes())]
	return has
}

// openRevoked reads what this member's state has, before any door is open.
func (a *Authority) openRevoked() error {
	a.revoked.kept = a.readKept()
	a.revoked.set.Store(&serials{all: a.revoked.kept, changed: make(chan struct{})})
	return a.readReplica()
}

func (a *Authority) readRevoked() error {
	items, err := a.config.Replica.List(revokedBucket, nil)
	if err != nil {
		return fmt.Errorf("read which certificates are revoked: %w", err)
	}
	next := &serials{all: make(map[string]int64, len(items)), changed: make(chan struct{})}
	for _, item := range items {
		serial, ok := new(big.Int).SetString(string(item.Key), 10)
		if !ok {
			return fmt.Errorf("%w: %q is revoked, which is no serial number", ErrFormat, item.Key)
		}
		next.all[string(serial.Bytes())] = countsUntil(item.Value)
	}
	now := time.Now()
	for serial, until := range a.revoked.kept {
		if _, has := next.all[serial]; !has && !over(until, now) {
			next.all[serial] = until
		}
	}
	if maps.Equal(a.revoked.set.Load().all, next.all) {
		return nil
	}
	a.revoked.put(next)
	a.keep(next)
	return nil
}

// put has those who wait look again. The channel of each set is closed once,
// whoever is faster.
func (r *revoked) put(next *serials) {
	close(r.set.Swap(next).changed)
}

// lookAgain is put when not the set but the CA has changed.
func (r *revoked) lookAgain() {
	for {
		last := r.set.Load()
		if r.set.CompareAndSwap(last, &serials{all: last.all, changed: make(chan struct{})}) {
			close(last.changed)
			return
		}
	}
}

// countsUntil is when a revocation may be forgotten, 0 if never.
func countsUntil(value []byte) int64 {
	if t := expiry(revokedTable, value); !t.IsZero() {
		return t.Unix()
	}
	return 0
}

// Revoked says of a certificate that a door has let in that it would not do so
// any more: it was revoked, its member removed, or it is a client's and the
// generation of the CA was dropped that issued it. (Members have moved by then,
// and what they have under way on older connections goes on.) It answers from
// memory.
func (a *Authority) Revoked(leaf *x509.Certificate) bool {
	if a.revoked.has(leaf.SerialNumber) || len(leaf.URIs) == 0 && !a.ca().knows(leaf) {
		return true
	}
	if a.config.Removed == nil || len(leaf.URIs) == 0 {
		return false
	}
	member, err := memberOf(leaf)
	return err == nil && a.config.Removed(member)
}

// RevocationsChanged returns a channel that is closed when other certificates are
// revoked than now. Removals of members do not close it.
func (a *Authority) RevocationsChanged() <-chan struct{} { return a.revoked.set.Load().changed }

// renewIfRevoked has Run replace this member's own certificate if it was revoked:
// a member that is not to come back is removed, and this one was not.
func (a *Authority) renewIfRevoked() {
	if a.revoked.has(a.current.Load().certificate.Leaf.SerialNumber) {
		a.renewNow()
	}
}

// renewNow has Run renew at once, and without the ledger, since nobody listens to
// who shows this certificate.
func (a *Authority) renewNow() {
	id := a.current.Load()
	now := *id
	now.renew, now.refused = time.Now(), true
	if !a.current.CompareAndSwap(id, &now) {
		return // there is another already
	}
	a.wake()
}

// doubtPause is how long others may doubt again and again before that counts as a
// further doubt: whoever was removed would make certificates without end.
const doubtPause = time.Minute

// Doubted is told that others refuse this member's certificate, which was perhaps
// revoked while this member was away, so that it cannot hear of it. It is
// replaced, at most once a minute.
func (a *Authority) Doubted() {
	last, now := a.revoked.doubted.Load(), time.Now().UnixNano()
	if (last == 0 || now-last > int64(doubtPause)) && a.revoked.doubted.CompareAndSwap(last, now) {
		a.log.Info("other members refuse this one's certificate; it makes another")
		a.renewNow()
	}
}
