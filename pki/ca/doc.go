// SPDX-License-Identifier: Apache-2.0

// Package ca is the CA as it is spoken to over HTTP.
//
// The one invariant: nothing here decides who gets which certificate; package
// pki does, whoever asks by whatever way.
package ca
