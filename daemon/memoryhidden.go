// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// HideMemory keeps this process's memory, where the cluster key and the CA's keys
// lie open, out of core files, and from other processes of the same user. It is
// for all of it: Go moves and copies what it likes, so that to mark single pages
// (MADV_DONTDUMP) would promise more than it holds. A person who wants a core all
// the same says so by GOTRACEBACK=crash, without which Go would make none.
func HideMemory() error {
	if os.Getenv("GOTRACEBACK") == "crash" {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl PR_SET_DUMPABLE: %w", err)
	}
	return nil
}
