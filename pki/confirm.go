// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// seenBucket has what each member, by its id in hex, last said of the CA that it
// goes by, for the leader of a rotation.
const (
	seenBucket = bucketPrefix + "ca-seen"
	seenFormat = 1
)

// seen is what a member says, in JSON. It says so once it lasts: whatever
// becomes of the member, it will not go by less.
type seen struct {
	Format  int    `json:"format"`
	Version uint64 `json:"version"` // of the CA's record
	Issuer  string `json:"issuer"`  // of its own certificate: digest of the intermediate, in hex
}

func decodeSeen(raw []byte) (seen, error) {
	var s seen
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("decode what a member says of the CA: %w", err)
	}
	if s.Format != seenFormat {
		return s, fmt.Errorf("%w: what a member says of the CA has format %d, this version reads %d", ErrFormat, s.Format, seenFormat)
	}
	return s, nil
}

// fingerprint is what a certificate of the CA is known by in the ledger.
func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// confirmLater has Run tell the cluster what this member goes by.
func (a *Authority) confirmLater() {
	select {
	case a.unconfirmed <- struct{}{}:
	default: // it is asked for already
	}
}

// confirm tells the cluster what this member goes by, while a rotation is under
// way, whenever that has changed and for as long as ctx lives.
func (a *Authority) confirm(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.unconfirmed:
		}
		for delay := firstRecord; ; delay = min(2*delay, lastRecord) {
			err := a.confirmNow(ctx)
			if err == nil {
				break
			}
			if ctx.Err() == nil {
				a.log.Warn("the cluster does not know yet which CA this member goes by", "err", err, "retry_in", delay)
			}
			retry := time.Now().Add(delay)
			if !a.await(ctx, nil, func() time.Time { return retry }) {
				return
			}
		}
	}
}

func (a *Authority) confirmNow(ctx context.Context) error {
	i := a.ca()
	if i.record.Rotation == nil {
		return nil
	}
	says := seen{Format: seenFormat, Version: i.record.Version}
	leaf := a.current.Load().certificate.Leaf
	for _, g := range i.generations {
		if g.issued(leaf) {
			says.Issuer = fingerprint(g.intermediate)
		}
	}
	raw, err := json.Marshal(says)
	if err != nil {
		return err
	}
	key := []byte(hexID(a.config.MemberID))
	known, err := a.config.Ledger.Get(ctx, seenBucket, key)
	if err != nil || bytes.Equal(known, raw) {
		return err
	}
	_, err = a.config.Ledger.Commit(ctx, []Op{{Bucket: seenBucket, Key: key, Value: raw}})
	return err
}
