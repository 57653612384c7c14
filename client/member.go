// SPDX-License-Identifier: Apache-2.0

package client

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

var (
	// ErrToken means that a text is not a token that a client can log in with.
	ErrToken = errors.New("client: not a token")
	// ErrCluster means that who answers is not a member of the cluster that the
	// token or the bundle is of.
	ErrCluster = errors.New("client: not a member of this cluster")
)

// memberURI is what makes a certificate a member's; nobody else is given one.
var memberURI = regexp.MustCompile(`^spiffe://[0-9a-f]{16}/member/[0-9a-f]{16}$`)

// verifyMember checks that the chain is a member's and ends in one of the roots.
// By whose name or address the member was found is not asked: a certificate for
// a service of the fleet, which has names, too, is none of a member.
func verifyMember(chain []*x509.Certificate, roots *x509.CertPool) error {
	if len(chain) == 0 {
		return fmt.Errorf("%w: it shows no certificate", ErrCluster)
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	leaf := chain[0]
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCluster, err)
	}
	if len(leaf.URIs) != 1 || !memberURI.MatchString(leaf.URIs[0].String()) {
		return fmt.Errorf("%w: the certificate of %q is not a member's", ErrCluster, leaf.Subject.CommonName)
	}
	return nil
}

// rootDigest is what a token says of the cluster: cleat1.<root digest>.<secret>.
func rootDigest(token string) ([sha256.Size]byte, error) {
	var digest [sha256.Size]byte
	parts := strings.Split(token, ".")
	if len(parts) != 3 || parts[0] != "cleat1" {
		return digest, fmt.Errorf("%w: it is not of the form cleat1.….…; it may be cut off", ErrToken)
	}
	for _, part := range parts[1:] {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || len(raw) != len(digest) {
			return digest, fmt.Errorf("%w: a part of it is not 32 bytes in base64url; it may be cut off", ErrToken)
		}
	}
	raw, _ := base64.RawURLEncoding.DecodeString(parts[1]) // it was read above
	copy(digest[:], raw)
	return digest, nil
}

// certificates are those in a PEM text.
func certificates(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return all, nil
}

func pool(certs ...*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}
