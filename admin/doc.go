// SPDX-License-Identifier: Apache-2.0

// Package admin is what cleat says to its administrator that etcd's API has no
// words for: issue a certificate, invite a machine, tell how the member is; and
// what members say to one another beside raft. It holds the protocol
// (admin.proto) and the code generated from it, server interfaces and clients
// alike: [AdminClient] for the Unix socket, [EntryClient] and [PeerClient] for a
// peer door.
//
// The one invariant is that a message here may be read by an older or a newer
// member: fields are added, never renumbered, and never change their meaning.
//
// The service itself is in admin/server; ctl is its caller.
package admin

//go:generate ./generate.sh
