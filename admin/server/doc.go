// SPDX-License-Identifier: Apache-2.0

// Package server answers the services of package admin. It decides nothing
// itself; it calls and translates.
//
//   - [Server] is the administrator's: it issues certificates for remote clients,
//     invites machines, and tells how this member is.
//   - [Entry] is for machines that join; [Knock] and [AskIn] are their side of it.
//
// The one invariant: nobody but root is answered by a Server. It is registered
// on the door of the Unix socket only, where the kernel says who is calling, and
// that door lets only root through to it. An Entry answers anybody, and gives
// nothing to whoever has no token.
//
// The neighbours: daemon makes and registers them; pki issues and admits; what
// Status tells comes from raft, the store and the daemon.
package server
