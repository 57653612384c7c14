// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"time"
)

const (
	firstRecord = time.Second
	lastRecord  = time.Minute
)

// nowhere is a ledger that remembers nothing.
type nowhere struct{}

var _ Ledger = nowhere{}

func (nowhere) Get(context.Context, string, []byte) ([]byte, error)  { return nil, nil }
func (nowhere) List(context.Context, string, []byte) ([]Item, error) { return nil, nil }
func (nowhere) Commit(context.Context, []Op) (bool, error)           { return true, nil }

// recordLater has Run record the certificate in use.
func (a *Authority) recordLater() {
	select {
	case a.unrecorded <- struct{}{}:
	default: // it is asked for already
	}
}

// record brings into the ledger what was done without it, whenever there is
// something and for as long as ctx lives.
func (a *Authority) record(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.unrecorded:
		}
		for delay := firstRecord; ; delay = min(2*delay, lastRecord) {
			err := a.recordIdentity(ctx)
			if err == nil {
				break
			}
			if ctx.Err() == nil {
				a.log.Warn("certificate not recorded", "err", err, "retry_in", delay)
			}
			retry := time.Now().Add(delay)
			if !a.await(ctx, nil, func() time.Time { return retry }) {
				return
			}
		}
	}
}

// recordIdentity records the certificate in use, if it is not recorded, and
// goes by the cluster's CA if it went by another.
func (a *Authority) recordIdentity(ctx context.Context) error {
	if err := a.refresh(ctx); err != nil {
		return err
	}
	leaf := a.current.Load().certificate.Leaf
	known, err := a.config.Ledger.Get(ctx, bucketPrefix+certificatesTable, []byte(leaf.SerialNumber.String()))
	if err != nil || known != nil {
		return err
	}
	err = a.ca().database.StoreCertificateChain(profileProvisioner{Peer}, leaf)
	if err == nil {
		a.logIdentity("certificate recorded")
	}
	return err
}
