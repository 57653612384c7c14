// SPDX-License-Identifier: Apache-2.0

package pki

import "errors"

// What a caller decides upon.
var (
	// ErrClusterKey means that this member cannot open the CA's keys: it holds no
	// cluster key, or another one.
	ErrClusterKey = errors.New("pki: the cluster key is missing or is not this cluster's")
	// ErrSealed means that a sealed key of the CA is damaged.
	ErrSealed = errors.New("pki: a sealed key cannot be opened")
	// ErrFormat means that a newer version of cleat wrote the CA's record.
	ErrFormat = errors.New("pki: unknown format")

	// ErrRequest refuses a signing request that is malformed or not signed by
	// the key that it carries.
	ErrRequest = errors.New("pki: bad certificate request")
	// ErrKey refuses a public key that is too weak or of a kind that TLS 1.3
	// does not speak.
	ErrKey = errors.New("pki: public key not accepted")
	// ErrName refuses a name that no certificate can carry, or that is reserved.
	ErrName = errors.New("pki: name not accepted")
	// ErrTTL refuses a life that is too short or too long.
	ErrTTL = errors.New("pki: life of the certificate not accepted")
	// ErrProfile refuses a profile that is unknown or not for the caller.
	ErrProfile = errors.New("pki: profile not accepted")
)
