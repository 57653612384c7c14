// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
)

// generation is an intermediate with its way to a root that clients hold. It
// never changes.
type generation struct {
	root         *x509.Certificate
	intermediate *x509.Certificate
	chain        []*x509.Certificate // what is shown behind a leaf: the intermediate first
}

// generation reads the certificates and checks that they hold together.
func (r generationRecord) generation() (generation, error) {
	var g generation
	for _, der := range append([][]byte{r.Intermediate}, r.Between...) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return g, fmt.Errorf("intermediate certificate in the ledger: %w", err)
		}
		g.chain = append(g.chain, c)
	}
	g.intermediate = g.chain[0]
	var err error
	if g.root, err = x509.ParseCertificate(r.Root); err != nil {
		return g, fmt.Errorf("root certificate in the ledger: %w", err)
	}
	for n, c := range g.chain {
		issuer := g.root
		if n+1 < len(g.chain) {
			issuer = g.chain[n+1]
		}
		if err := c.CheckSignatureFrom(issuer); err != nil {
			return g, fmt.Errorf("intermediate certificate in the ledger: %w", err)
		}
	}
	if r.Cross == nil {
		return g, nil
	}
	cross, err := x509.ParseCertificate(r.Cross)
	if err != nil {
		return g, fmt.Errorf("cross-signed root in the ledger: %w", err)
	}
	if !bytes.Equal(cross.RawSubjectPublicKeyInfo, g.root.RawSubjectPublicKeyInfo) {
		return g, errors.New("cross-signed root in the ledger: it is of another root")
	}
	g.chain = append(g.chain, cross)
	return g, nil
}

// issued says whether the leaf was signed by this generation's key.
func (g generation) issued(leaf *x509.Certificate) bool {
	return leaf.CheckSignatureFrom(g.intermediate) == nil
}

// knows says whether the leaf, whose signature was checked when it came, is of a
// generation that counts.
func (i *issuer) knows(leaf *x509.Certificate) bool {
	return slices.ContainsFunc(i.generations, func(g generation) bool {
		return bytes.Equal(leaf.AuthorityKeyId, g.intermediate.SubjectKeyId)
	})
}

// rootsOf returns the roots of the generations, each once, in their order.
func rootsOf(generations []generation) []*x509.Certificate {
	var roots []*x509.Certificate
	for _, g := range generations {
		if !containsCertificate(roots, g.root) {
			roots = append(roots, g.root)
		}
	}
	return roots
}

func containsCertificate(among []*x509.Certificate, wanted *x509.Certificate) bool {
	for _, c := range among {
		if c.Equal(wanted) {
			return true
		}
	}
	return false
}

func intermediatesOf(generations []generation) []*x509.Certificate {
	out := make([]*x509.Certificate, len(generations))
	for i, g := range generations {
		out[i] = g.intermediate
	}
	return out
}
