// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/smallstep/certificates/db"
)

// reasonCodes are the reasons of RFC 5280 that make sense of a certificate that
// is no CA's. One that is revoked stays so: there is no hold.
var reasonCodes = map[string]int{
	"unspecified":            0,
	"key-compromise":         1,
	"affiliation-changed":    3,
	"superseded":             4,
	"cessation-of-operation": 5,
	"privilege-withdrawn":    9,
}

// Reasons are those that Revoke takes.
func Reasons() []string { return slices.Sorted(maps.Keys(reasonCodes)) }

// Revocable says what is to be revoked, and why.
type Revocable struct {
	Which  string // a serial number, or the name of all that have it
	Reason string // one of Reasons; "": unspecified
	By     string // who asked
}

// Revoke ends certificates before their time: from when a member hears of it on,
// within moments, it refuses them and ends their connections. It returns those
// that are meant; one that was revoked before stays as it was. The error is
// ErrReason, ErrCertificateUnknown, or ErrCertificateEnded if all that are meant
// have expired; any other is the ledger's, and then it may have happened.
func (a *Authority) Revoke(ctx context.Context, r Revocable) ([]Issued, error) {
	if r.Reason == "" {
		r.Reason = "unspecified"
	}
	if _, known := reasonCodes[r.Reason]; !known {
		return nil, fmt.Errorf("%w: %q is none of %s", ErrReason, r.Reason, strings.Join(Reasons(), ", "))
	}
	for range storeAttempts {
		found, err := a.FindIssued(ctx, r.Which)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		good := slices.DeleteFunc(found, func(i Issued) bool { return now.After(i.NotAfter) })
		if len(good) == 0 {
			return nil, fmt.Errorf("%w: no door takes it any more, so there is nothing to revoke", ErrCertificateEnded)
		}
		if done, err := a.revoke(ctx, good, r, now); err != nil || done {
			return good, err
		}
	}
	return nil, errChanged
}

// revoke records all that are not revoked yet in one commit, and notes it in them.
// It is false if somebody else has revoked one of them meanwhile.
func (a *Authority) revoke(ctx context.Context, certs []Issued, r Revocable, now time.Time) (bool, error) {
	var ops []Op
	var fresh []int
	for i, c := range certs {
		if c.Revoked != nil {
			continue
		}
		serial := c.SerialNumber.String()
		value, err := json.Marshal(db.RevokedCertificateInfo{
			Serial: serial, ProvisionerID: string(c.Profile), ReasonCode: reasonCodes[r.Reason], Reason: r.Reason,
			RevokedAt: now.UTC(), ExpiresAt: c.NotAfter,
		})
		if err != nil {
			return false, err
		}
		op := set([]byte(revokedTable), []byte(serial), value)
		op.If = Absent
		ops, fresh = append(ops, op), append(fresh, i)
	}
	if len(ops) == 0 {
		return true, nil
	}
	if done, err := a.config.Ledger.Commit(ctx, ops); err != nil || !done {
		return false, err
	}
	for _, i := range fresh {
		certs[i].Revoked = &Revocation{Time: now.UTC(), Code: reasonCodes[r.Reason], Reason: r.Reason}
		e := eventOf(ActRevoke, "certificate revoked", certs[i].Certificate)
		e.By, e.Reason = r.By, r.Reason
		a.Audit(ctx, e)
	}
	return true, nil
}

// RevokeMember revokes the certificates of a member that was removed, for those
// who go by the revocation list: our own doors know it by its id.
func (a *Authority) RevokeMember(ctx context.Context, member uint64) error {
	return a.revokeAll(ctx, func(i Issued) bool { return i.Member == member })
}

// revokeRemoved does so for all members that were removed, perhaps at a time when
// it could not be recorded.
func (a *Authority) revokeRemoved(ctx context.Context) error {
	if a.config.Removed == nil {
		return nil
	}
	return a.revokeAll(ctx, func(i Issued) bool { return i.Member != 0 && a.config.Removed(i.Member) })
}

func (a *Authority) revokeAll(ctx context.Context, fits func(Issued) bool) error {
	for range storeAttempts {
		now := time.Now()
		found, err := a.ListIssued(ctx, func(i Issued) bool { return i.Revoked == nil && now.Before(i.NotAfter) && fits(i) })
		if err != nil {
			return err
		}
		if done, err := a.revoke(ctx, found, Revocable{Reason: "cessation-of-operation"}, now); err != nil || done {
			return err
		}
	}
	return errChanged
}
