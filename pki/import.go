// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

const (
	requestKey    = "request" // in caBucket: the key that an external CA is asked to sign
	requestFormat = 1
	requestTTL    = 90 * 24 * time.Hour

	// leastImportLife is what an intermediate from elsewhere must have left.
	leastImportLife = 30 * 24 * time.Hour
	maxImportChain  = 8
)

// requestRecord is that key as it lies in the ledger, in JSON.
type requestRecord struct {
	Format int    `json:"format"`
	Key    []byte `json:"key"` // sealed as an intermediate's
}

// Request returns a certificate request, in DER, for an external CA to make an
// intermediate of: its key stays here, sealed. Whoever asks again before the
// answer is imported gets a request for the same key.
func (a *Authority) Request(ctx context.Context) ([]byte, error) {
	key, err := a.clusterKey()
	if err != nil {
		return nil, err
	}
	signer, _, err := a.requested(ctx, key)
	if errors.Is(err, errNoRequest) {
		signer, err = a.newRequest(ctx, key)
	}
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: caTemplate("intermediate", a.config.ClusterID, a.ca().record.next(), time.Now(), true).Subject,
	}, signer)
}

var errNoRequest = fmt.Errorf("%w: there is no key here that waits for its certificate: give the key as well, or begin with cleatctl ca import --csr", ErrImport)

func (a *Authority) newRequest(ctx context.Context, key clusterKey) (crypto.Signer, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	sealed, err := key.seal(roleIntermediate, private)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(requestRecord{Format: requestFormat, Key: sealed})
	if err != nil {
		return nil, err
	}
	done, err := a.config.Ledger.Commit(ctx, []Op{{Bucket: caBucket, Key: []byte(requestKey), Value: raw, Expires: time.Now().Add(requestTTL), If: Absent}})
	if err != nil {
		return nil, fmt.Errorf("record the key: %w", err)
	}
	if done {
		return private, nil
	}
	signer, _, err := a.requested(ctx, key) // another member was faster
	return signer, err
}

// requested returns the key that waits for its certificate, and its record. The
// error is errNoRequest if there is none.
func (a *Authority) requested(ctx context.Context, key clusterKey) (crypto.Signer, []byte, error) {
	raw, err := a.config.Ledger.Get(ctx, caBucket, []byte(requestKey))
	if err != nil {
		return nil, nil, fmt.Errorf("read the key that waits for its certificate: %w", err)
	}
	if raw == nil {
		return nil, nil, errNoRequest
	}
	r, err := decodeRequest(raw)
	if err != nil {
		return nil, nil, err
	}
	signer, err := key.open(roleIntermediate, r.Key)
	return signer, raw, err
}

func decodeRequest(raw []byte) (requestRecord, error) {
	var r requestRecord
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("decode the key that waits for its certificate: %w", err)
	}
	if r.Format != requestFormat {
		return r, fmt.Errorf("%w: the key that waits for its certificate has format %d, this version reads %d", ErrFormat, r.Format, requestFormat)
	}
	return r, nil
}

// Import begins a rotation to an intermediate from elsewhere. Certs, in PEM, are
// the intermediate, then what leads to its root, which is part of it. Private is
// its key in PEM, or nothing if the key is the one of Request. The error is
// ErrImport if it cannot be used, and says why; ErrRotating if a rotation is
// under way.
func (a *Authority) Import(ctx context.Context, certs, private []byte, until Step) error {
	key, err := a.clusterKey()
	if err != nil {
		return err
	}
	var (
		signer crypto.Signer
		used   []Op
	)
	if len(private) > 0 {
		signer, err = parseSigner(private)
	} else {
		var raw []byte
		signer, raw, err = a.requested(ctx, key)
		used = []Op{{Bucket: caBucket, Key: []byte(requestKey), If: Equals, Old: raw}}
	}
	if err != nil {
		return err
	}
	if err := a.refresh(ctx); err != nil {
		return err
	}
	g, err := a.checkImport(certs, signer, a.ca())
	if err != nil {
		return err
	}
	return a.begin(ctx, RotateImport, until, func(old caRecord, key clusterKey) (generationRecord, error) {
		record := generationRecord{Number: old.next(), Root: g.root.Raw, Intermediate: g.intermediate.Raw}
		for _, c := range g.chain[1:] {
			record.Between = append(record.Between, c.Raw)
		}
		var err error
		if bytes.Equal(record.Root, old.Root) {
			record.RootKey = old.RootKey
		}
		record.IntermediateKey, err = key.seal(roleIntermediate, signer)
		return record, err
	}, used...)
}

// checkImport returns the intermediate with its way to the root.
func (a *Authority) checkImport(text []byte, signer crypto.Signer, now *issuer) (generation, error) {
	certs, err := decodePEM(text)
	if err != nil {
		return generation{}, fmt.Errorf("%w: the certificates: %w", ErrImport, err)
	}
	if err := checkIntermediate(certs[0], signer, now); err != nil {
		return generation{}, fmt.Errorf("%w: %w", ErrImport, err)
	}
	g, err := chainToRoot(certs[0], append(certs[1:], now.roots...))
	if err != nil {
		return g, fmt.Errorf("%w: %w", ErrImport, err)
	}
	if err := a.tryImport(g, signer); err != nil {
		return g, fmt.Errorf("%w: a member's certificate that it signs would not be good: %w", ErrImport, err)
	}
	return g, nil
}

func checkIntermediate(c *x509.Certificate, signer crypto.Signer, now *issuer) error {
	name := c.Subject.String()
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		return fmt.Errorf("%q is not a CA's certificate (basic constraints CA:TRUE); the intermediate must come first in the file", name)
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("%q may not sign certificates (key usage keyCertSign)", name)
	case c.KeyUsage&x509.KeyUsageCRLSign == 0:
		return fmt.Errorf("%q may not sign revocation lists (key usage cRLSign), of which there is one for each issuer", name)
	case bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(c) == nil:
		return fmt.Errorf("%q is a root; only intermediates are taken, so that the root's key need not be here", name)
	case len(c.SubjectKeyId) == 0:
		return fmt.Errorf("%q has no subject key identifier, by which certificates name their issuer", name)
	case !matches(c, signer):
		return fmt.Errorf("the key is not that of %q", name)
	case time.Now().Before(c.NotBefore):
		return fmt.Errorf("%q is valid only from %s", name, stamp(c.NotBefore))
	case time.Until(c.NotAfter) < leastImportLife:
		return fmt.Errorf("%q ends at %s: it must be good for %d days at least", name, stamp(c.NotAfter), int(leastImportLife.Hours()/24))
	}
	for _, g := range now.generations {
		if matches(g.intermediate, signer) || matches(g.root, signer) {
			return fmt.Errorf("%q has the key of %q, which the cluster uses already: a rotation must bring another key", name, g.intermediate.Subject)
		}
	}
	return checkKey(c.PublicKey)
}

// chainToRoot finds the way from an intermediate to a root among the certificates.
func chainToRoot(intermediate *x509.Certificate, among []*x509.Certificate) (generation, error) {
	g := generation{intermediate: intermediate, chain: []*x509.Certificate{intermediate}}
	for last := intermediate; len(g.chain) <= maxImportChain; {
		var next *x509.Certificate
		for _, c := range among {
			if bytes.Equal(c.RawSubject, last.RawIssuer) && last.CheckSignatureFrom(c) == nil {
				next = c
				break
			}
		}
		if next == nil {
			return g, fmt.Errorf("%q was signed by %q, whose certificate is not in the file: add all up to the root", last.Subject, last.Issuer)
		}
		if next.CheckSignatureFrom(next) == nil {
			g.root = next
			return g, nil
		}
		g.chain, last = append(g.chain, next), next
	}
	return g, fmt.Errorf("there are more than %d certificates between it and a root", maxImportChain)
}

// tryImport signs a member's certificate, throws it away, and verifies it as
// everybody would: that finds path lengths, usages and names that forbid it.
func (a *Authority) tryImport(g generation, signer crypto.Signer) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	uri := memberURI(a.config.ClusterID, a.config.MemberID)
	template := &x509.Certificate{
		SerialNumber: serialNumber(), Subject: pkix.Name{CommonName: memberPrefix + hexID(a.config.MemberID)},
		DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	template.URIs = append(template.URIs, uri)
	der, err := x509.CreateCertificate(rand.Reader, template, g.intermediate, key.Public(), signer)
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(g.root)
	for _, c := range g.chain {
		between.AddCert(c)
	}
	for _, usage := range template.ExtKeyUsage { // Verify is content with one of several
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			return err
		}
	}
	return nil
}

// parseSigner reads a private key in PEM: PKCS #8, or what openssl makes of EC
// and RSA keys. What else is in the text is not looked at.
func parseSigner(text []byte) (crypto.Signer, error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, fmt.Errorf("%w: there is no private key in PEM", ErrImport)
		}
		var key any
		var err error
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return nil, fmt.Errorf("%w: the private key is encrypted: decrypt it first (openssl pkey -in FILE)", ErrImport)
		case block.Type == "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case block.Type == "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case block.Type == "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		default:
			continue // such as EC PARAMETERS
		}
		if err != nil {
			return nil, fmt.Errorf("%w: the private key: %w", ErrImport, err)
		}
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
		return nil, fmt.Errorf("%w: the private key cannot sign", ErrImport)
	}
}
