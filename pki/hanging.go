// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// Hanging are the certificates of one name that end to be good when the
// generation is dropped that issued them.
type Hanging struct {
	Name     string
	Count    int
	NotAfter time.Time // of the one that ends last
}

// hanging returns what hangs on the generation now, in the order of the names.
// Members' certificates do not count: members replace theirs, and say so. Nor do
// those that were revoked.
func (a *Authority) hanging(ctx context.Context, g generation) ([]Hanging, error) {
	items, err := a.config.Ledger.List(ctx, bucketPrefix+certificatesTable, nil)
	if err != nil {
		return nil, fmt.Errorf("list the certificates: %w", err)
	}
	gone, err := a.config.Ledger.List(ctx, bucketPrefix+revokedTable, nil)
	if err != nil {
		return nil, fmt.Errorf("list what was revoked: %w", err)
	}
	revoked := make(map[string]bool, len(gone))
	for _, item := range gone {
		revoked[string(item.Key)] = true
	}
	found, now := map[string]*Hanging{}, time.Now()
	for _, item := range items {
		leaf, err := x509.ParseCertificate(item.Value)
		if err != nil {
			return nil, fmt.Errorf("certificate %s in the ledger: %w", item.Key, err)
		}
		if revoked[string(item.Key)] || now.After(leaf.NotAfter) || len(leaf.URIs) != 0 || !bytes.Equal(leaf.AuthorityKeyId, g.intermediate.SubjectKeyId) {
			continue
		}
		name := cmp.Or(leaf.Subject.CommonName, append(leaf.DNSNames, leaf.SerialNumber.String())[0])
		h := found[name]
		if h == nil {
			h = &Hanging{Name: name}
			found[name] = h
		}
		h.Count++
		if leaf.NotAfter.After(h.NotAfter) {
			h.NotAfter = leaf.NotAfter
		}
	}
	var out []Hanging
	for _, h := range found {
		out = append(out, *h)
	}
	slices.SortFunc(out, func(x, y Hanging) int { return cmp.Compare(x.Name, y.Name) })
	return out, nil
}
