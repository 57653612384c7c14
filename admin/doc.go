// SPDX-License-Identifier: Apache-2.0

// Package admin is what cleat says to its administrator that etcd's API has no
// words for: issue a certificate, tell how the member is. It holds the protocol
// (admin.proto) and the code generated from it, server interface and client
// alike; a caller uses [NewAdminClient] on a connection to the Unix socket.
//
// The one invariant is that a message here may be read by an older or a newer
// member: fields are added, never renumbered, and never change their meaning.
//
// The service itself is in admin/server; ctl is its caller.
package admin

//go:generate ./generate.sh
