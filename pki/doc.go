// SPDX-License-Identifier: Apache-2.0

// Package pki is the cluster's certificate authority and this member's identity
// in it. Nobody makes certificates by hand: the first member makes a root and an
// intermediate, every member makes and renews its own certificate, and remote
// clients are given theirs.
//
// Where things are kept:
//
//	the ledger (replicated)       the CA's certificates; its private keys, sealed
//	                              with the cluster key; every certificate issued,
//	                              who was revoked, the revocation lists, the audit
//	Dir/cluster.key  (0600)       the cluster key, which is never replicated, unless
//	                              systemd hands it over; which key takes the place
//	                              of which is in the ledger
//	Dir/ca.locked    (0600)       there while an administrator wants the CA locked
//	Dir/ca.json      (0600)       what the ledger has of the CA, so that a member
//	                              can open its doors before there is a quorum
//	Dir/revoked.json (0600)       which certificates are revoked, as this member knew
//	                              last: it may crash, and its state be behind
//	Dir/member.pem   (0600)       this member's key and certificate; disposable,
//	                              since a member that can unseal the CA's key can
//	                              always issue itself another
//
// The one invariant: a private key of the CA leaves this process only sealed,
// and the cluster key is durable in Dir before anything sealed with it is in the
// ledger. So a crash at any moment of the first start leaves either no CA or one
// that this member can open.
//
// A machine joins by a token ([Authority.Invite], [Join]), which tells it whose
// root to trust and proves that it was invited. It makes its key itself and is
// given the rest ([Authority.Admit]) over TLS that only the cluster's root can
// vouch for; all of it becomes Dir by one rename ([Joining.Accept]).
//
// A client elsewhere comes by a token, too ([Authority.Login]), which is good for
// its name alone, and afterwards by its certificate ([Authority.RenewClient]).
//
// The CA changes live: what a member knows of it is one record in the ledger, which
// all members follow (adopt.go), and a rotation is a part of that record
// (rotation.go).
//
// A certificate is signed by smallstep's authority, under one of three profiles:
// peer, client and server. No profile's certificate does another's work: what a
// door accepts is decided by its extended key usage and by the member's URI
// (verify.go).
//
// What is revoked opens no door from the moment at which a member's own state has
// it (revoked.go); what the CA does and refuses is told by [Authority.Audit]
// (audit.go).
//
// The neighbours: daemon lends the replicated state as a [Ledger] and hands the
// [Authority.ClientDoor] to api, which counts refusals by their Reason;
// admin/server calls [Authority.Issue]. This is the only package, with pki/ca,
// that knows smallstep.
package pki
