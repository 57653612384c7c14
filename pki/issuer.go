// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/smallstep/certificates/authority"
	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/authority/provisioner"
	"github.com/smallstep/certificates/db"
)

// issuer is the CA, open: smallstep's authority with its certificates and the
// intermediate's key. It never changes and is safe for concurrent use.
type issuer struct {
	root         *x509.Certificate
	intermediate *x509.Certificate
	anchor       *x509.CertPool // the intermediate: nothing else signs what our doors accept
	bundle       []byte         // the roots in PEM
	record       []byte         // the CA as it lies in the ledger, keys sealed
	signer       crypto.Signer  // the intermediate's key
	database     *db.DB         // where certificates are recorded
	authority    *authority.Authority
}

// subject is what a certificate says about its holder.
type subject struct {
	name string   // common name
	sans []string // DNS names, IP addresses, URIs
}

func newIssuer(l Ledger, record caRecord, signer crypto.Signer) (*issuer, error) {
	i := &issuer{anchor: x509.NewCertPool()}
	var err error
	if i.root, err = x509.ParseCertificate(record.Root); err != nil {
		return nil, fmt.Errorf("root certificate in the ledger: %w", err)
	}
	if i.intermediate, err = x509.ParseCertificate(record.Intermediate); err != nil {
		return nil, fmt.Errorf("intermediate certificate in the ledger: %w", err)
	}
	if !matches(i.intermediate, signer) {
		return nil, fmt.Errorf("%w: the intermediate key is not of the intermediate certificate", ErrSealed)
	}
	if err := i.intermediate.CheckSignatureFrom(i.root); err != nil {
		return nil, fmt.Errorf("intermediate certificate in the ledger: %w", err)
	}
	i.anchor.AddCert(i.intermediate)
	i.bundle = EncodePEM(i.root)
	i.signer, i.record, i.database = signer, record.raw, newDatabase(l)
	i.authority, err = i.newAuthority(i.database)
	return i, err
}

func (i *issuer) newAuthority(d db.AuthDB) (*authority.Authority, error) {
	a, err := authority.NewEmbedded(
		authority.WithConfig(&config.Config{AuthorityConfig: &config.AuthConfig{
			Provisioners: provisioner.List{profileProvisioner{Peer}, profileProvisioner{Client}, profileProvisioner{Server}},
			Backdate:     &provisioner.Duration{Duration: backdate},
		}}),
		authority.WithX509RootCerts(i.root),
		authority.WithX509SignerFunc(func() ([]*x509.Certificate, crypto.Signer, error) {
			return []*x509.Certificate{i.intermediate}, i.signer, nil
		}),
		authority.WithX509IntermediateCerts(i.intermediate),
		authority.WithDatabase(d),
		authority.WithQuietInit(),
	)
	if err != nil {
		return nil, fmt.Errorf("open smallstep's authority: %w", err)
	}
	return a, nil
}

// unrecorded returns the issuer as one that asks and tells the ledger nothing,
// for this member's own certificate when there is no quorum.
func (i *issuer) unrecorded() (*issuer, error) {
	out := *i
	var err error
	out.authority, err = i.newAuthority(newDatabase(nowhere{}))
	return &out, err
}

// sign issues a certificate and records it in the ledger. The chain is the
// certificate and the intermediate. What is asked for must have been checked.
func (i *issuer) sign(ctx context.Context, csr *x509.CertificateRequest, p Profile, s subject, ttl time.Duration) ([]*x509.Certificate, error) {
	now := time.Now()
	notAfter := roundUp(now.Add(ttl))
	if ttl <= 0 || notAfter.After(i.intermediate.NotAfter) {
		return nil, fmt.Errorf("%w: %v is longer than the CA itself has left (until %s)",
			ErrTTL, ttl, i.intermediate.NotAfter.Format(time.RFC3339))
	}
	options := profileProvisioner{p}.options(s, now.Add(-backdate), notAfter)
	return i.authority.SignWithContext(ctx, csr, provisioner.SignOptions{}, options...)
}

// roundUp goes to the next full second, below which certificates cannot tell
// time: cut off instead, a life of two seconds would be one.
func roundUp(t time.Time) time.Time {
	return t.Add(time.Second - time.Nanosecond).Truncate(time.Second)
}

// EncodePEM returns the certificates as PEM blocks in their order.
func EncodePEM(certs ...*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, c := range certs {
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a Buffer takes everything
	}
	return out.Bytes()
}

// decodePEM returns the certificates among the blocks.
func decodePEM(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate in it")
	}
	return certs, nil
}
