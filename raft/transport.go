// SPDX-License-Identifier: Apache-2.0

package raft

import hraft "github.com/hashicorp/raft"

// openTransport gives hraft its way to the other members. One member alone
// talks to nobody: the transport within the process carries nothing, and the
// member's address is its id. This function is the seam for a network.
func openTransport(c *Config) hraft.Transport {
	_, t := hraft.NewInmemTransport(hraft.ServerAddress(serverID(c.Member)))
	return t
}
