// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/smallstep/certificates/db"
)

const certificatesBucket = bucketPrefix + certificatesTable

// Issued is a certificate that the ledger has. It does so until a week after the
// certificate's end.
type Issued struct {
	*x509.Certificate
	Profile Profile
	Member  uint64      // whose it is, if a member's
	Revoked *Revocation // nil: it was not
}

// Name is whom or what the certificate is for.
func (i Issued) Name() string {
	if i.Subject.CommonName == "" && len(i.DNSNames) != 0 {
		return i.DNSNames[0]
	}
	return i.Subject.CommonName
}

// Revocation is when and why a certificate was revoked.
type Revocation struct {
	Time   time.Time
	Code   int    // of the reason, as revocation lists have it
	Reason string // its name, or what somebody wrote
}

// ListIssued returns the certificates in the ledger that fit, in the order in
// which they end.
func (a *Authority) ListIssued(ctx context.Context, fits func(Issued) bool) ([]Issued, error) {
	revoked, err := a.revocations(ctx)
	if err != nil {
		return nil, err
	}
	items, err := a.config.Ledger.List(ctx, certificatesBucket, nil)
	if err != nil {
		return nil, fmt.Errorf("list the certificates: %w", err)
	}
	var out []Issued
	for _, item := range items {
		i, err := issuedOf(string(item.Key), item.Value, revoked)
		if err != nil {
			return nil, err
		}
		if fits == nil || fits(i) {
			out = append(out, i)
		}
	}
	slices.SortStableFunc(out, func(x, y Issued) int { return x.NotAfter.Compare(y.NotAfter) })
	return out, nil
}

// FindIssued returns the certificates that a person means: the one with that
// serial number, in decimal digits or in hex as other programs write it, or all
// with that name. The error is ErrCertificateUnknown if there is none.
func (a *Authority) FindIssued(ctx context.Context, which string) ([]Issued, error) {
	which = strings.TrimSpace(which)
	for _, serial := range serialsOf(which) {
		raw, err := a.config.Ledger.Get(ctx, certificatesBucket, []byte(serial))
		if err != nil {
			return nil, fmt.Errorf("read certificate %s: %w", serial, err)
		}
		if raw == nil {
			continue
		}
		revoked, err := a.revocations(ctx)
		if err != nil {
			return nil, err
		}
		i, err := issuedOf(serial, raw, revoked)
		return []Issued{i}, err
	}
	found, err := a.ListIssued(ctx, func(i Issued) bool { return which != "" && i.Name() == which })
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%w: %s is neither the serial number nor the name of one that the cluster has; cert list shows them",
			ErrCertificateUnknown, quoteName(which))
	}
	return found, err
}

// serialsOf are the numbers that a text may stand for.
func serialsOf(text string) []string {
	var out []string
	if n, ok := new(big.Int).SetString(text, 10); ok && n.Sign() > 0 {
		out = append(out, n.String())
	}
	hex := strings.TrimPrefix(strings.ReplaceAll(strings.ToLower(text), ":", ""), "0x")
	if n, ok := new(big.Int).SetString(hex, 16); ok && n.Sign() > 0 {
		out = append(out, n.String())
	}
	return out
}

func issuedOf(serial string, der []byte, revoked map[string]*Revocation) (Issued, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return Issued{}, fmt.Errorf("certificate %s in the ledger: %w", serial, err)
	}
	i := Issued{Certificate: leaf, Profile: profileHeld(leaf), Revoked: revoked[serial]}
	if member, err := memberOf(leaf); err == nil {
		i.Member = member
	}
	return i, nil
}

// revocations are those in the ledger, by the serial in decimal digits.
func (a *Authority) revocations(ctx context.Context) (map[string]*Revocation, error) {
	items, err := a.config.Ledger.List(ctx, revokedBucket, nil)
	if err != nil {
		return nil, fmt.Errorf("list the revocations: %w", err)
	}
	out := make(map[string]*Revocation, len(items))
	for _, item := range items {
		var info db.RevokedCertificateInfo
		if err := json.Unmarshal(item.Value, &info); err != nil {
			return nil, fmt.Errorf("decode the revocation of certificate %s: %w", item.Key, err)
		}
		out[string(item.Key)] = &Revocation{Time: info.RevokedAt, Code: info.ReasonCode, Reason: info.Reason}
	}
	return out, nil
}
