// SPDX-License-Identifier: Apache-2.0

package pki

import "context"

// Follow keeps in memory what this member's state has of revocations, for as long
// as ctx lives; Open has read what there was. It returns at once without
// Config.Replica. An error is the state's.
func (a *Authority) Follow(ctx context.Context) error {
	if a.config.Replica == nil {
		return nil
	}
	for {
		revoked, lists := a.config.Replica.Changed(revokedBucket), a.config.Replica.Changed(crlBucket)
		if err := a.readReplica(); err != nil {
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

func (a *Authority) readReplica() error {
	if a.config.Replica == nil {
		return nil
	}
	if err := a.readRevoked(); err != nil {
		return err
	}
	return a.readCRLs()
}
