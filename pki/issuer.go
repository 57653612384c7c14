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
	"slices"
	"time"

	"github.com/smallstep/certificates/authority"
	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/authority/provisioner"
	"github.com/smallstep/certificates/db"
)

// issuer is the CA, open: smallstep's authority with its certificates and the
// intermediate's key. It never changes and is safe for concurrent use.
type issuer struct {
	generation                      // that issues
	generations []generation        // all whose certificates count, that one first
	roots       []*x509.Certificate // theirs, each once: what a client must trust
	anchor      *x509.CertPool      // their intermediates: nothing else signs what our doors accept
	bundle      []byte              // the roots in PEM
	record      caRecord            // the CA as it lies in the ledger, keys sealed
	signer      crypto.Signer       // the intermediate's key; nil if locked
	locked      error               // why this member cannot sign; nil if it can
	beside      *issuer             // the other generation of a rotation, with its signer; nil: none
	database    *db.DB              // where certificates are recorded
	authority   *authority.Authority
}

// subject is what a certificate says about its holder.
type subject struct {
	name string   // common name
	sans []string // DNS names, IP addresses, URIs
}

// newIssuer opens the CA of a record, without a signer for what signs nothing.
func newIssuer(l Ledger, record caRecord, signer crypto.Signer) (*issuer, error) {
	generations, err := record.generations()
	if err != nil {
		return nil, err
	}
	i := &issuer{
		generation: generations[0], generations: generations, roots: rootsOf(generations),
		anchor: x509.NewCertPool(), record: record, signer: signer, database: newDatabase(l),
	}
	if signer != nil && !matches(i.intermediate, signer) {
		return nil, fmt.Errorf("%w: the intermediate key is not of the intermediate certificate", ErrSealed)
	}
	for _, g := range generations {
		i.anchor.AddCert(g.intermediate)
	}
	i.bundle = EncodePEM(i.roots...)
	i.authority, err = i.newAuthority(i.database)
	return i, err
}

func (i *issuer) newAuthority(d db.AuthDB) (*authority.Authority, error) {
	a, err := authority.NewEmbedded(
		authority.WithConfig(&config.Config{AuthorityConfig: &config.AuthConfig{
			Provisioners: provisioner.List{profileProvisioner{Peer}, profileProvisioner{Client}, profileProvisioner{Server}},
			Backdate:     &provisioner.Duration{Duration: backdate},
		}}),
		authority.WithX509RootCerts(i.roots...),
		authority.WithX509SignerFunc(func() ([]*x509.Certificate, crypto.Signer, error) {
			return i.chain, i.signer, i.locked
		}),
		authority.WithX509IntermediateCerts(intermediatesOf(i.generations)...),
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
// certificate, the intermediate, and what leads from there to the roots that
// clients hold. What is asked for must have been checked.
func (i *issuer) sign(ctx context.Context, csr *x509.CertificateRequest, p Profile, s subject, ttl time.Duration) ([]*x509.Certificate, error) {
	if i.locked != nil {
		return nil, i.locked
	}
	now := time.Now()
	notAfter := roundUp(now.Add(ttl))
	if ttl <= 0 || notAfter.After(i.intermediate.NotAfter) {
		return nil, fmt.Errorf("%w: %v is longer than the CA itself has left (until %s)",
			ErrTTL, ttl, i.intermediate.NotAfter.Format(time.RFC3339))
	}
	options := profileProvisioner{p}.options(s, now.Add(-backdate), notAfter)
	return i.authority.SignWithContext(ctx, csr, provisioner.SignOptions{}, options...)
}

// hasRoot says whether the token is for one of the roots.
func (i *issuer) hasRoot(t Token) bool {
	return slices.ContainsFunc(i.roots, func(root *x509.Certificate) bool { return digestOf(root) == t.Digest })
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
