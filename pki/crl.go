// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/smallstep/certificates/db"
)

// Revocation lists are for programs that check certificates of ours elsewhere;
// our own doors need none. The leader makes them, one for each key that issues:
//
//	pki/crl:  <key id of the issuer, in hex>  ->  the list, in DER
//
// A list's number is the one before plus one. It replaces exactly the list that
// it was made from, so two that lead for a moment cannot both use a number, and
// no revocation is lost between two lists. (smallstep's own generator reads,
// adds and writes back without that; it stays off.)

const (
	crlBucket = bucketPrefix + "crl"
	// crlLife is how long a list may be used, crlAge how old it gets before there
	// is another: so long may a cluster have no leader and its lists stay good.
	crlLife = 48 * time.Hour
	crlAge  = 24 * time.Hour
	// crlRetry is the pause after a list that could not be made; it grows.
	crlRetry = 5 * time.Second
)

// lists are those in memory, by the issuer's key id. They never change.
type lists map[string][]byte

// CRL returns the newest revocation list of an issuer, in DER, as this member has
// it. The issuer is the id of its key in hex, as the authority key id of what it
// issued; "" is the one that issues now. The error is ErrNoCRL. It answers from
// memory.
func (a *Authority) CRL(issuer string) ([]byte, error) {
	var known lists
	if l := a.lists.Load(); l != nil {
		known = *l
	}
	if issuer == "" {
		issuer = a.ca().keyID()
	}
	if der := known[issuer]; der != nil {
		return der, nil
	}
	return nil, fmt.Errorf("%w of %s: the leader makes one when there is a quorum", ErrNoCRL, quoteName(issuer))
}

// CRLs returns the lists of all issuers that are live, the one that issues now
// first, in DER.
func (a *Authority) CRLs() [][]byte {
	var out [][]byte
	for _, i := range a.issuers() {
		if der, err := a.CRL(i.keyID()); err == nil {
			out = append(out, der)
		}
	}
	return out
}

func (a *Authority) readCRLs() error {
	items, err := a.config.Replica.List(crlBucket, nil)
	if err != nil {
		return fmt.Errorf("read the revocation lists: %w", err)
	}
	next := make(lists, len(items))
	for _, item := range items {
		next[string(item.Key)] = item.Value
	}
	a.lists.Store(&next)
	return nil
}

// issuers are those whose certificates are accepted and whose key is at hand,
// the one that issues now first.
func (a *Authority) issuers() []*issuer {
	i := a.ca()
	if i.beside == nil {
		return []*issuer{i}
	}
	return []*issuer{i, i.beside}
}

func (i *issuer) keyID() string { return hex.EncodeToString(i.intermediate.SubjectKeyId) }

// LeadCRL keeps the lists true while this member leads: it makes another when
// something was revoked, when the issuer has changed, and when one gets old. It
// returns when ctx ends.
func (a *Authority) LeadCRL(ctx context.Context) error {
	if a.config.Replica == nil {
		return nil
	}
	delay, told := crlRetry, ""
	for removals := true; ; {
		revoked, issuer := a.config.Replica.Changed(revokedBucket), a.config.Replica.Changed(caBucket)
		due, err := a.makeCRLs(ctx)
		if err == nil && removals {
			err = a.revokeRemoved(ctx)
			removals = err != nil
		}
		if err == nil {
			delay, told = crlRetry, ""
		} else if ctx.Err() == nil {
			if told != err.Error() { // a CA that is locked stays so for long
				a.log.Warn("revocation list not made; it is tried again", "err", err)
			}
			due, told = time.Now().Add(delay), err.Error()
			delay = min(2*delay, lastRecord)
		}
		if !awaitList(ctx, due, revoked, issuer) {
			return nil
		}
	}
}

// awaitList returns true when another list may be due, false when ctx is done.
func awaitList(ctx context.Context, due time.Time, revoked, issuer <-chan struct{}) bool {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-revoked:
			return true
		case <-issuer:
			return true
		case <-timer.C:
		}
		left := time.Until(due)
		if left <= 0 {
			return true
		}
		timer.Reset(min(left, checkEvery))
	}
}

// makeCRLs returns when the first of the lists gets old.
func (a *Authority) makeCRLs(ctx context.Context) (due time.Time, err error) {
	entries, err := a.crlEntries(ctx)
	if err != nil {
		return time.Time{}, err
	}
	for _, i := range a.issuers() {
		next, err := a.makeCRL(ctx, i, entries[i.keyID()])
		if err != nil {
			return time.Time{}, fmt.Errorf("of issuer %s: %w", i.keyID(), err)
		}
		if due.IsZero() || next.Before(due) {
			due = next
		}
	}
	return due, nil
}

// crlEntries are the revoked certificates by the key that issued them. One that
// the ledger does not know counts for the issuer of now.
func (a *Authority) crlEntries(ctx context.Context) (map[string][]x509.RevocationListEntry, error) {
	items, err := a.config.Ledger.List(ctx, revokedBucket, nil)
	if err != nil || len(items) == 0 {
		return nil, err
	}
	certs, err := a.config.Ledger.List(ctx, certificatesBucket, nil)
	if err != nil {
		return nil, err
	}
	issued := make(map[string][]byte, len(certs))
	for _, c := range certs {
		issued[string(c.Key)] = c.Value
	}
	out := map[string][]x509.RevocationListEntry{}
	for _, item := range items {
		var info db.RevokedCertificateInfo
		if err := json.Unmarshal(item.Value, &info); err != nil {
			return nil, fmt.Errorf("decode the revocation of certificate %s: %w", item.Key, err)
		}
		serial, ok := new(big.Int).SetString(string(item.Key), 10)
		if !ok {
			return nil, fmt.Errorf("%w: %q is revoked, which is no serial number", ErrFormat, item.Key)
		}
		by := a.ca().keyID()
		if leaf, err := x509.ParseCertificate(issued[string(item.Key)]); err == nil && len(leaf.AuthorityKeyId) != 0 {
			by = hex.EncodeToString(leaf.AuthorityKeyId)
		}
		out[by] = append(out[by], x509.RevocationListEntry{
			SerialNumber: serial, RevocationTime: info.RevokedAt.UTC().Truncate(time.Second), ReasonCode: info.ReasonCode,
		})
	}
	for _, entries := range out {
		slices.SortFunc(entries, func(x, y x509.RevocationListEntry) int {
			return cmp.Or(x.RevocationTime.Compare(y.RevocationTime), x.SerialNumber.Cmp(y.SerialNumber))
		})
	}
	return out, nil
}

// makeCRL makes another list for an issuer if the one that there is does not say
// the same, or is old. It returns when the list gets old.
func (a *Authority) makeCRL(ctx context.Context, i *issuer, entries []x509.RevocationListEntry) (due time.Time, err error) {
	if i.locked != nil {
		return time.Time{}, fmt.Errorf("sign a list: %w", i.locked)
	}
	raw, err := a.config.Ledger.Get(ctx, crlBucket, []byte(i.keyID()))
	if err != nil {
		return time.Time{}, err
	}
	now, number := time.Now().UTC().Truncate(time.Second), big.NewInt(1)
	if raw != nil {
		last, err := x509.ParseRevocationList(raw)
		if err != nil {
			return time.Time{}, fmt.Errorf("the list in the ledger: %w", err)
		}
		if old := last.ThisUpdate.Add(crlAge); now.Before(old) && sameEntries(last.RevokedCertificateEntries, entries) {
			return old, nil
		}
		number.Add(last.Number, number)
	}
	if i.locked != nil {
		return time.Time{}, fmt.Errorf("sign list %d: %w", number, i.locked)
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: number, ThisUpdate: now, NextUpdate: now.Add(crlLife), RevokedCertificateEntries: entries,
	}, i.intermediate, i.signer)
	if err != nil {
		return time.Time{}, fmt.Errorf("sign list %d: %w", number, err)
	}
	op := Op{Bucket: crlBucket, Key: []byte(i.keyID()), Value: der, If: Equals, Old: raw, Expires: i.intermediate.NotAfter}
	if raw == nil {
		op.If = Absent
	}
	done, err := a.config.Ledger.Commit(ctx, []Op{op})
	if err == nil && !done {
		err = errChanged // by who led before; the next attempt goes on from there
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("keep list %d: %w", number, err)
	}
	a.log.Info("revocation list made", "number", number.String(), "revoked", len(entries), "issuer", i.keyID())
	return now.Add(crlAge), nil
}

func sameEntries(x, y []x509.RevocationListEntry) bool {
	return slices.EqualFunc(x, y, func(a, b x509.RevocationListEntry) bool {
		return bytes.Equal(a.SerialNumber.Bytes(), b.SerialNumber.Bytes()) &&
			a.RevocationTime.Equal(b.RevocationTime) && a.ReasonCode == b.ReasonCode
	})
}
