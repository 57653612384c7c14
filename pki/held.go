// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/smallstep/certificates/db"
)

// ErrAlreadyRevoked means that a certificate was revoked before.
var ErrAlreadyRevoked = errors.New("pki: the certificate is revoked already")

// Held says whether a certificate that somebody holds counts: this CA signed it,
// the ledger has it, it is valid now, and it was not revoked. Smallstep would renew
// whatever bears the issuer's signature. The error is a [*Refusal] if it does not
// count, or the ledger's.
func (a *Authority) Held(ctx context.Context, leaf *x509.Certificate) (Profile, error) {
	if err := a.verify(leaf); err != nil {
		return "", err
	}
	recorded, revoked, err := a.recorded(ctx, leaf.SerialNumber)
	switch {
	case err != nil:
		return "", err
	case !bytes.Equal(recorded, leaf.Raw):
		return "", refuse(leaf, ReasonUnknownAuthority, "is none that the cluster has a record of")
	case revoked:
		return "", refuse(leaf, ReasonRevoked, "was revoked")
	}
	return profileHeld(leaf), nil
}

// Recorded returns the certificate with that serial number, and its profile. The
// error is ErrName if there is none.
func (a *Authority) Recorded(ctx context.Context, serial *big.Int) (*x509.Certificate, Profile, error) {
	raw, _, err := a.recorded(ctx, serial)
	if err != nil {
		return nil, "", err
	}
	if raw == nil {
		return nil, "", fmt.Errorf("%w: the cluster has no certificate with the serial number %s", ErrName, serial)
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, "", fmt.Errorf("certificate %s in the ledger: %w", serial, err)
	}
	return leaf, profileHeld(leaf), nil
}

func (a *Authority) recorded(ctx context.Context, serial *big.Int) (der []byte, revoked bool, err error) {
	key := []byte(serial.String())
	if der, err = a.config.Ledger.Get(ctx, bucketPrefix+certificatesTable, key); err == nil {
		var mark []byte
		mark, err = a.config.Ledger.Get(ctx, bucketPrefix+revokedTable, key)
		revoked = mark != nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("look up certificate %s: %w", serial, err)
	}
	return der, revoked, nil
}

// RevokeHeld revokes a certificate for whoever may have that done: its holder, or
// who showed a token. The code is one of RFC 5280's. The error is
// ErrAlreadyRevoked, or the ledger's.
func (a *Authority) RevokeHeld(ctx context.Context, leaf *x509.Certificate, code int, reason, by string) error {
	serial := leaf.SerialNumber.String()
	value, err := json.Marshal(db.RevokedCertificateInfo{
		Serial: serial, ProvisionerID: string(profileHeld(leaf)), ReasonCode: code, Reason: reason,
		RevokedAt: time.Now().UTC(), ExpiresAt: leaf.NotAfter,
	})
	if err != nil {
		return fmt.Errorf("revoke certificate %s: %w", serial, err)
	}
	op := set([]byte(revokedTable), []byte(serial), value)
	op.If = Absent
	done, err := a.config.Ledger.Commit(ctx, []Op{op})
	if err != nil {
		return fmt.Errorf("revoke certificate %s: %w", serial, err)
	}
	if !done {
		return fmt.Errorf("%w: %s of %s", ErrAlreadyRevoked, serial, quoteName(leaf.Subject.CommonName))
	}
	e := eventOf(ActRevoke, "certificate revoked", leaf)
	e.By, e.Reason = by, reason
	a.Audit(ctx, e)
	return nil
}

// Ledger is where the ca door keeps what ACME needs, in buckets that begin with
// "pki/acme".
func (a *Authority) Ledger() Ledger { return a.config.Ledger }

// NonceKey is the secret that ACME's nonces are known again by, at all members.
func (a *Authority) NonceKey() ([]byte, error) { return a.ca().derive("ACME nonces", 32) }

// IssueOneTime gives the certificate that a one-time token is for, and uses the
// token up. A request that asks for something else uses nothing up, so that it can
// be corrected. The error is ErrTokenUsed, or one of Issue's.
func (a *Authority) IssueOneTime(ctx context.Context, t OneTimeToken, csr *x509.CertificateRequest, ttl time.Duration) ([]*x509.Certificate, error) {
	s, err := checkRequest(csr, t.Profile)
	if err != nil {
		return nil, err
	}
	if err := t.covers(csr, s); err != nil {
		return nil, err
	}
	if ttl, err = checkTTL(ttl, a.config.ClientTTL); err != nil {
		return nil, err
	}
	if ttl > a.config.ClientTTL {
		return nil, fmt.Errorf("%w: %v; with a token certificates live for %v at most", ErrTTL, ttl, a.config.ClientTTL)
	}
	if err := a.UseOneTime(ctx, t); err != nil {
		return nil, err
	}
	return a.Issue(ctx, csr, t.Profile, ttl)
}
