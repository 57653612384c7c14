// SPDX-License-Identifier: Apache-2.0

// Package peer is the door between the members of a cluster: one port, TLS 1.3,
// and three protocols on it, told apart by ALPN.
//
//	cleat-raft/1   a stream of raft's messages           members
//	h2             gRPC: raft's calls, the Peer service   members
//	cleat-join/1   gRPC: the Entry service                whoever has come to join
//
// A [Door] is both sides of it: what arrives, and the way to the others, as
// raft.Network. Who is at the other end is known by the certificate, never by
// the address.
//
// The invariant: a connection lives no longer than either certificate that it
// was opened with, and not after its member was removed. The side that dialed
// makes a new one in time, one connection after another (link.go).
//
// The neighbours: pki decides who gets in; raft sends through it; daemon makes
// it, opens it and tells it who was removed.
package peer
