// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The reasons of a refusal.
const (
	ReasonNoCertificate    = "no_certificate"
	ReasonUnknownAuthority = "unknown_authority"
	ReasonExpired          = "expired"
	ReasonNotYetValid      = "not_yet_valid"
	ReasonWrongUsage       = "wrong_usage"
	ReasonRevoked          = "revoked"
	ReasonBadCertificate   = "bad_certificate"

	// Those of who asked for a certificate.
	ReasonNotAdmitted = "not_admitted" // a machine that would join
	ReasonNotGiven    = "not_given"    // somebody else
)

// Refusal is the error of a handshake that the other side's certificate did
// not pass.
type Refusal struct {
	reason string
	text   string
}

// Error tells a person what was wrong with which certificate.
func (r *Refusal) Error() string { return "pki: " + r.text }

// Reason is one of the Reason constants, for counting.
func (r *Refusal) Reason() string { return r.reason }

// RefusalReason returns the reason if a handshake failed by the other side's
// certificate, and "" if it failed by something else.
func RefusalReason(err error) string {
	var refusal *Refusal
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refusal):
		return refusal.reason
	// crypto/tls checks these before it asks us, and has no types for them; a
	// test notices if the texts change.
	case strings.Contains(err.Error(), "client didn't provide a certificate"):
		return ReasonNoCertificate
	case strings.Contains(err.Error(), "client certificate"), strings.Contains(err.Error(), "client sent certificate"):
		return ReasonBadCertificate
	}
	return ""
}

// verifyClient is the client door's check. Clients get in, and members, which
// are clients of one another.
func (a *Authority) verifyClient(c tls.ConnectionState) error {
	leaf, err := presented(c)
	if err != nil {
		return err
	}
	if err := a.verify(leaf, x509.ExtKeyUsageClientAuth); err != nil {
		return err
	}
	if len(leaf.URIs) != 0 {
		return a.checkMember(leaf)
	}
	return nil
}

// verifyPeer is the peer door's check: a member of this cluster.
func (a *Authority) verifyPeer(c tls.ConnectionState) error {
	leaf, err := presented(c)
	if err != nil {
		return err
	}
	if err := a.verify(leaf, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth); err != nil {
		return err
	}
	return a.checkMember(leaf)
}

func presented(c tls.ConnectionState) (*x509.Certificate, error) {
	if len(c.PeerCertificates) == 0 {
		return nil, &Refusal{ReasonNoCertificate, "no certificate was presented"}
	}
	return c.PeerCertificates[0], nil
}

// verify checks that our CA signed the certificate, that it is valid now and not
// revoked, and that it may be used for all of the usages. The chain ends at our own
// intermediate: its way to the root was checked when the CA was opened, which
// halves the cost of a handshake, and intermediates of the other side are never
// looked at.
//
// The signature is checked as of a moment at which the certificate was valid,
// and the time afterwards: otherwise an expired certificate of a stranger would
// pass for one of ours that has expired.
func (a *Authority) verify(leaf *x509.Certificate, usages ...x509.ExtKeyUsage) error {
	now := time.Now()
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:       a.ca().anchor,
		CurrentTime: clamp(now, leaf.NotBefore, leaf.NotAfter),
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return refuse(leaf, reasonOf(err), err.Error())
	}
	if now.Before(leaf.NotBefore) {
		return refuse(leaf, ReasonNotYetValid, "is valid only from "+leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	if now.After(leaf.NotAfter) {
		return refuse(leaf, ReasonExpired, "expired at "+leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if a.revoked.has(leaf.SerialNumber) {
		return refuse(leaf, ReasonRevoked, "was revoked")
	}
	for _, usage := range usages {
		if !slices.Contains(leaf.ExtKeyUsage, usage) {
			return refuse(leaf, ReasonWrongUsage, "is not for this door")
		}
	}
	return nil
}

func reasonOf(err error) string {
	var (
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &authority):
		return ReasonUnknownAuthority
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return ReasonExpired // the CA itself
	}
	return ReasonBadCertificate
}

func refuse(leaf *x509.Certificate, reason, what string) error {
	return &Refusal{reason, fmt.Sprintf("certificate %s of %s: %s", leaf.SerialNumber, quoteName(leaf.Subject.CommonName), what)}
}

// quoteName keeps a stranger's text short and on one line.
func quoteName(name string) string {
	if len(name) > maxNameBytes {
		name = name[:maxNameBytes]
	}
	return fmt.Sprintf("%q", name)
}

func clamp(t, from, to time.Time) time.Time {
	if t.Before(from) {
		return from
	}
	if t.After(to) {
		return to
	}
	return t
}
