// SPDX-License-Identifier: Apache-2.0

// Package server answers the administrator's service, package admin: it issues
// certificates for remote clients and tells how this member is. It decides
// nothing itself; it calls and translates.
//
// The one invariant: nobody but root is answered. The service is registered on
// the door of the Unix socket only, where the kernel says who is calling, and
// that door lets only root through to it.
//
// The neighbours: daemon makes a [Server] and registers it; pki issues; what
// Status tells comes from raft, the store and the daemon.
package server
