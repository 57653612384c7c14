// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/x509"
	"fmt"
)

// generation is an intermediate with its way to a root that clients hold. It
// never changes.
type generation struct {
	root         *x509.Certificate
	intermediate *x509.Certificate
	chain        []*x509.Certificate // what is shown behind a leaf: the intermediate first
}

// newGeneration reads the certificates, in DER, and checks that they hold
// together.
func newGeneration(root, intermediate []byte) (generation, error) {
	var g generation
	var err error
	if g.root, err = x509.ParseCertificate(root); err != nil {
		return g, fmt.Errorf("root certificate in the ledger: %w", err)
	}
	if g.intermediate, err = x509.ParseCertificate(intermediate); err != nil {
		return g, fmt.Errorf("intermediate certificate in the ledger: %w", err)
	}
	if err := g.intermediate.CheckSignatureFrom(g.root); err != nil {
		return g, fmt.Errorf("intermediate certificate in the ledger: %w", err)
	}
	g.chain = []*x509.Certificate{g.intermediate}
	return g, nil
}

// issued says whether the leaf was signed by this generation's key.
func (g generation) issued(leaf *x509.Certificate) bool {
	return leaf.CheckSignatureFrom(g.intermediate) == nil
}

// roots of the generations, each once, in their order.
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
