// SPDX-License-Identifier: Apache-2.0

//go:build broken_apply

package raft

import "bytes"

// applying hangs at a command with this word in it. When the log brings it
// again after a restart nobody waits for it any more, and it is applied.
func applying(entries []Entry, awaited bool) {
	for _, e := range entries {
		for _, command := range e.Commands {
			if awaited && bytes.Contains(command, []byte("broken_apply")) {
				select {}
			}
		}
	}
}
