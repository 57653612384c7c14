// SPDX-License-Identifier: Apache-2.0

// Package ca is the ca door: the CA as step-ca's clients and ACME's speak to it
// over HTTP. It is the one door that lets strangers in, so all that they may do to
// the member is bounded here: how many come, how often, and how much they say.
//
// step-ca's API is answered by handlers of our own, with smallstep's types on the
// wire, since its handlers write before they check, renew what this CA never
// issued, and let any token revoke any certificate. ACME's are smallstep's, over
// tables of our own (orders.go): one record an order, nonces that are stored only
// when they are used (nonce.go), everything with an expiry.
//
// The one invariant: nothing here decides who gets which certificate, package pki
// does; and nothing is written to the replicated state before a signature that
// belongs to the request has been checked.
//
// The neighbours: daemon opens the listener and says which names ACME may have;
// pki issues, and lends its ledger.
package ca
