// SPDX-License-Identifier: Apache-2.0

package pki

import "errors"

// What a caller decides upon.
var (
	// ErrClusterKey means that this member cannot open the CA's keys: it holds no
	// cluster key, or another one.
	ErrClusterKey = errors.New("pki: the cluster key is missing or is not this cluster's")
	// ErrLocked means that an administrator has locked the CA at this member.
	ErrLocked = errors.New("pki: the CA is locked at this member, which issues nothing")
	// ErrOnlyKey refuses to remove a key that may be the last one.
	ErrOnlyKey = errors.New("pki: the cluster key is not removed")
	// ErrKeyRotation means that the cluster key cannot be replaced now.
	ErrKeyRotation = errors.New("pki: the cluster key is not rotated")
	// ErrSealed means that a sealed key of the CA is damaged.
	ErrSealed = errors.New("pki: a sealed key cannot be opened")
	// ErrFormat means that a newer version of cleat wrote the CA's record, or that
	// its file is damaged.
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

	// ErrRotating means that another rotation of the CA is under way.
	ErrRotating = errors.New("pki: a rotation of the CA is under way")
	// ErrRotation means that a rotation of the CA cannot be begun, or carried on,
	// as was asked.
	ErrRotation = errors.New("pki: rotation of the CA")
	// ErrStep means that a rotation has no such step.
	ErrStep = errors.New("pki: no step of a rotation")
	// ErrImport refuses a CA's certificate or key from elsewhere.
	ErrImport = errors.New("pki: the CA's certificate is not taken")

	// ErrCertificateUnknown means that the ledger has no such certificate.
	ErrCertificateUnknown = errors.New("pki: no such certificate")
	// ErrCertificateEnded refuses to revoke what has expired.
	ErrCertificateEnded = errors.New("pki: the certificate has expired")
	// ErrReason refuses a reason that no revocation list knows.
	ErrReason = errors.New("pki: reason not accepted")
	// ErrNoCRL means that an issuer has no revocation list.
	ErrNoCRL = errors.New("pki: no revocation list")

	// ErrNotMember means that a connection's other end is not known as a member.
	ErrNotMember = errors.New("pki: not a member's connection")
	// ErrAdmission means that a cluster's answer to a machine that joins does not
	// hold together.
	ErrAdmission = errors.New("pki: bad answer to the request to join")
	// ErrJoined means that a directory already has a member's identity.
	ErrJoined = errors.New("pki: the directory already has a member's identity")

	// ErrInvitation refuses to make a token that nobody could use.
	ErrInvitation = errors.New("pki: invitation not accepted")
	// ErrTokenFormat means that a text is not a join token.
	ErrTokenFormat = errors.New("pki: not a join token")
	// ErrTokenDigest means that a token is for a cluster with another root.
	ErrTokenDigest = errors.New("pki: the token is not for this cluster")
	// ErrTokenUnknown means that there is no such token.
	ErrTokenUnknown = errors.New("pki: token unknown")
	// ErrTokenAmbiguous means that the beginning of an id fits several tokens.
	ErrTokenAmbiguous = errors.New("pki: several tokens fit")
	// ErrTokenKind means that a client's token was shown to join with, or a
	// machine's to log in.
	ErrTokenKind = errors.New("pki: the token is for something else")
	// ErrTokenExpired means that the token's time is over.
	ErrTokenExpired = errors.New("pki: the token expired")
	// ErrTokenUsed means that as many as may have come with the token.
	ErrTokenUsed = errors.New("pki: the token is used up")
	// ErrTokenRevoked means that an administrator ended the token.
	ErrTokenRevoked = errors.New("pki: the token was revoked")
	// ErrClock means that two machines disagree on the time.
	ErrClock = errors.New("pki: the clocks differ too much")
)
