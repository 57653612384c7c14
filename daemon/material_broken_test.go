// SPDX-License-Identifier: Apache-2.0

//go:build broken_seal

package daemon

import "testing"

// With the sealing left out, the search finds the CA's keys everywhere.
func TestNoKeyMaterialLiesWhereItMustNot(t *testing.T) {
	found := exposed(t)
	for _, place := range []string{"the ledger", "state/", "raft/", "a backup"} {
		if len(found[place]) == 0 {
			t.Errorf("keys lie open in %s, and nobody notices", place)
		}
	}
	t.Logf("found %q", found)
}
