// SPDX-License-Identifier: Apache-2.0

package pki

import "context"

// Local is the ledger as this member's own state has it: it needs no quorum and
// may be behind. What handshakes need is kept in memory and follows it.
type Local interface {
	// List returns the items of a bucket.
	List(bucket string) ([]Item, error)
	// Changed returns a channel that is closed when the bucket has changed since
	// the call.
	Changed(bucket string) <-chan struct{}
}

// Follow keeps in memory what this member's state has of revocations, for as long
// as ctx lives; Open has read what there was. It returns at once without
// Config.Local. An error is the state's.
func (a *Authority) Follow(ctx context.Context) error {
	if a.config.Local == nil {
		return nil
	}
	for {
		revoked, lists := a.config.Local.Changed(revokedBucket), a.config.Local.Changed(crlBucket)
		if err := a.readLocal(); err != nil {
			return err
		}
		a.renewIfRevoked()
		select {
		case <-ctx.Done():
			return nil
		case <-revoked:
		case <-lists:
		}
	}
}

func (a *Authority) readLocal() error {
	if a.config.Local == nil {
		return nil
	}
	if err := a.readRevoked(); err != nil {
		return err
	}
	return a.readCRLs()
}
