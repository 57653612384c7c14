// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"time"

	"github.com/cleatd/cleat/backup"
	"github.com/cleatd/cleat/backup/file"
	"github.com/cleatd/cleat/pki"
	"github.com/cleatd/cleat/state"
)

// checkCA looks at what a snapshot has of the CA, and whether the cluster key
// that is given opens it, before anything is written.
func checkCA(snapshot *file.Reader, r Restoring) (*pki.Backup, error) {
	found, now := pki.NewBackup(), time.Now()
	err := backup.WalkLedger(snapshot, func(i state.LedgerItem) error {
		found.See(i.Bucket, i.Key, i.Value, now)
		return nil
	})
	if err == nil && r.ClusterKey != nil {
		err = found.Opens(r.ClusterKey)
	}
	return found, err
}

// restoreCA gives the state the CA, and the member the key to it. The member's
// certificate is made at its first start, for the cluster that it then is of.
func (d *Daemon) restoreCA(snapshot *file.Reader, key []byte) error {
	err := backup.RestoreLedger(snapshot, d.machine, func(i state.LedgerItem) bool { return pki.Restorable(i.Bucket) })
	return errors.Join(err, pki.PlaceKeys(d.pkiDir(), key))
}
