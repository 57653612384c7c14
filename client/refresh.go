// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// refreshEvery is how often roots are looked at between renewals: a rotation of
// the root ends when all have the new one, and may not wait for the next renewal.
const refreshEvery = time.Hour

// Refresh has a member tell the roots, and puts them into the bundle if they are
// others: the new one of a rotation, before the old one goes. The error is
// ErrCluster if the roots that the bundle has vouch for no member any more, a
// [*Refused], or of the network or the disk.
func (b *Bundle) Refresh(ctx context.Context) error {
	about, err := b.about()
	if err != nil {
		return err
	}
	path := b.Files().CACert
	before, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	got, _, err := b.askDoors(ctx, about, "/cleat/v1/roots", nil)
	if err != nil {
		return err
	}
	roots, err := certificates([]byte(got.Roots))
	if err != nil {
		return fmt.Errorf("%w: the roots in the answer: %w", ErrCluster, err)
	}
	after := encodeCertificates(roots)
	if now, err := os.ReadFile(path); err != nil || bytes.Equal(after, before) || !bytes.Equal(now, before) {
		return err // somebody else was faster: a login counts more
	}
	if err := exchange(path, after); err != nil {
		return fmt.Errorf("write the bundle: %w", err)
	}
	return nil
}

// refresh looks at a bundle's roots if that is due. That nobody is there to tell
// them is nothing to tell of, as long as the certificate is not due.
func (r *Renewer) refresh(ctx context.Context, b *Bundle, told func(*Bundle, error)) {
	if time.Now().Before(r.refreshed[b.dir]) {
		return
	}
	next := refreshEvery
	if err := b.Refresh(ctx); err != nil {
		next = lastRetry
		if errors.Is(err, ErrCluster) {
			told(b, err)
		}
	}
	if r.refreshed == nil {
		r.refreshed = map[string]time.Time{}
	}
	r.refreshed[b.dir] = time.Now().Add(next)
}
