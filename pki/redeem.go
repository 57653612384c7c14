// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"
)

// Redemption is one machine's use of a token.
type Redemption struct {
	Token  Token
	Key    []byte    // the machine's public key, by which it is known again
	Time   time.Time // the machine's clock when it asked
	Member uint64    // the id that the machine gets if the token names none

	login bool // it is a client, not a machine
}

// Check says whether Redeem would let the machine in now, and as what, and
// counts nothing.
func (a *Authority) Check(ctx context.Context, r Redemption) (TokenInfo, error) {
	if err := a.checkRedemption(r, time.Now()); err != nil {
		return TokenInfo{}, err
	}
	record, _, err := a.readToken(ctx, r.Token.ID())
	if err != nil {
		return TokenInfo{}, err
	}
	info := record.info(r.Token.ID())
	_, err = record.redeem(r, time.Now())
	return info, err
}

// Redeem counts the token down and returns it, and the id of the member that
// the machine is to be. A machine that comes again with the same key, since the
// first answer did not reach it, gets the same id and is counted once. The
// error is ErrTokenDigest, ErrClock, ErrTokenUnknown, ErrTokenKind,
// ErrTokenRevoked, ErrTokenExpired or ErrTokenUsed; after any other, the ledger's, the use may
// or may not have been counted, and the machine may come again.
func (a *Authority) Redeem(ctx context.Context, r Redemption) (info TokenInfo, member uint64, err error) {
	if err := a.checkRedemption(r, time.Now()); err != nil {
		return TokenInfo{}, 0, err
	}
	record, err := a.changeToken(ctx, r.Token.ID(), func(record *tokenRecord) error {
		member, err = record.redeem(r, time.Now())
		return err
	})
	if err != nil {
		return TokenInfo{}, 0, err
	}
	return record.info(r.Token.ID()), member, nil
}

// checkRedemption checks what needs no ledger.
func (a *Authority) checkRedemption(r Redemption, now time.Time) error {
	if err := a.Locked(); err != nil {
		return err // it must not cost a use
	}
	if !a.ca().hasRoot(r.Token) {
		return fmt.Errorf("%w: it was made for another cluster, or before the root was replaced", ErrTokenDigest)
	}
	if difference := r.Time.Sub(now); difference.Abs() > maxClockDifference {
		return fmt.Errorf("%w: on the machine that asks it is %s, here it is %s; set the clocks, then ask again",
			ErrClock, stamp(r.Time), stamp(now))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// redeem counts one use.
func (r *tokenRecord) redeem(by Redemption, now time.Time) (member uint64, err error) {
	if by.login != (r.Client != "") {
		return 0, fmt.Errorf("%w: it is for %s", ErrTokenKind, r.purpose())
	}
	if !r.Revoked.IsZero() {
		return 0, fmt.Errorf("%w at %s", ErrTokenRevoked, stamp(r.Revoked))
	}
	if !now.Before(r.Expires) {
		return 0, fmt.Errorf("%w at %s, it is %s", ErrTokenExpired, stamp(r.Expires), stamp(now))
	}
	key := fmt.Sprintf("%x", sha256.Sum256(by.Key))
	if at := slices.IndexFunc(r.Used, func(u use) bool { return u.Key == key }); at >= 0 {
		return r.Used[at].Member, nil
	}
	if r.Left <= 0 {
		return 0, fmt.Errorf("%w: %d came with it", ErrTokenUsed, len(r.Used))
	}
	member = by.Member
	if r.Member != 0 {
		member = r.Member
	}
	r.Left--
	r.Used = append(r.Used, use{Key: key, Member: member})
	return member, nil
}

func (a *Authority) readToken(ctx context.Context, id string) (tokenRecord, []byte, error) {
	raw, err := a.config.Ledger.Get(ctx, tokensBucket, []byte(id))
	if err != nil {
		return tokenRecord{}, nil, fmt.Errorf("read the token: %w", err)
	}
	if raw == nil {
		return tokenRecord{}, nil, fmt.Errorf("%w: it was never made here, or ended more than a day ago", ErrTokenUnknown)
	}
	r, err := decodeToken(raw)
	return r, raw, err
}

// changeToken changes a token's record by compare-and-swap. It is tried again
// for as long as others change it, each of which is a use or the end of the
// token.
func (a *Authority) changeToken(ctx context.Context, id string, change func(*tokenRecord) error) (tokenRecord, error) {
	for {
		r, old, err := a.readToken(ctx, id)
		if err != nil {
			return r, err
		}
		if err := change(&r); err != nil {
			return r, err
		}
		op := r.op(id, old)
		if bytes.Equal(op.Value, old) {
			return r, nil
		}
		done, err := a.config.Ledger.Commit(ctx, []Op{op})
		if err != nil {
			return r, fmt.Errorf("record the use of the token: %w", err)
		}
		if done {
			return r, nil
		}
	}
}
