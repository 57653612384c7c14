// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// KeyRotation is how far a rotation of the cluster key has come.
type KeyRotation struct {
	Old, New string   // ids
	Sealed   bool     // the CA is sealed with New
	Missing  []uint64 // members that do not have New yet
}

// RotateKey makes another cluster key, waits until the members have it, seals
// the CA with it, and leaves it to Run of all members to forget the old one once
// everybody has the new. It waits for all for as long as patience; then most of
// the members are enough, and the others get the key when they are back. One that
// broke off is taken up by the next call, at any member that has the new key.
// It fails with ErrKeyRotation if the one before is not over or too few have the
// key, and with ErrLocked where there is no key.
func (a *Authority) RotateKey(ctx context.Context, patience time.Duration) (KeyRotation, error) {
	a.rotating.Lock()
	defer a.rotating.Unlock()
	if err := a.refresh(ctx); err != nil {
		return KeyRotation{}, err
	}
	if err := a.Locked(); err != nil {
		return KeyRotation{}, err
	}
	r, err := a.beginRotation(ctx)
	if err != nil {
		return r, err
	}
	if err := a.tellHolding(ctx); err != nil {
		return r, err
	}
	if r.Missing, err = a.awaitHolders(ctx, r.New, patience); err != nil {
		return r, err
	}
	if all := len(a.members()); 2*len(r.Missing) >= all {
		return r, fmt.Errorf("%w: %d of %d members have cluster key %s, %s not; nothing is sealed with it yet: bring them back and give the command again",
			ErrKeyRotation, all-len(r.Missing), all, r.New, hexIDs(r.Missing))
	}
	if err := a.sealAnew(ctx, r); err != nil {
		return r, err
	}
	r.Sealed = true
	a.nudge()
	return r, nil
}

// beginRotation has the ledger name a key that this member has durably.
func (a *Authority) beginRotation(ctx context.Context) (KeyRotation, error) {
	r := KeyRotation{Old: a.ca().record.sealedWith()}
	s, _, err := a.keyState(ctx)
	if err != nil {
		return r, err
	}
	if s.Previous != "" {
		holders, err := a.holders(ctx)
		if err != nil {
			return r, err
		}
		if lack := without(r.Old, a.members(), holders); len(lack) > 0 {
			return r, fmt.Errorf("%w: %s has not got cluster key %s yet, which took the place of %s: unlock or start that member, or remove it",
				ErrKeyRotation, hexIDs(lack), r.Old, s.Previous)
		}
	}
	if s.Next != "" {
		r.New = s.Next
		if err := a.obtain(ctx, s.Next); err == nil {
			return r, nil
		}
		if lost, err := a.nobodyHas(ctx, s.Next); err != nil || !lost {
			return r, errors.Join(fmt.Errorf("%w: cluster key %s was begun at another member, which has it: start that one, or give the command there",
				ErrKeyRotation, s.Next), err)
		}
	}
	next, err := randomClusterKey()
	if err != nil {
		return r, err
	}
	if err := a.vault.add(next); err != nil {
		return r, err
	}
	r.New = next.ID()
	begun := s.Next
	err = a.changeKeyState(ctx, func(s *keyState) error {
		if s.Next != begun {
			return fmt.Errorf("%w: another member has begun one at the same time", ErrKeyRotation)
		}
		s.Next, s.Previous = r.New, ""
		return nil
	})
	if err == nil {
		a.Audit(ctx, Event{Act: ActKeys, What: "cluster key made", Detail: fmt.Sprintf("key %s, to replace %s", r.New, r.Old)})
	}
	return r, err
}

// nobodyHas says that no member has recorded the key, so that nothing was ever
// sealed with it.
func (a *Authority) nobodyHas(ctx context.Context, key string) (bool, error) {
	holders, err := a.holders(ctx)
	return err == nil && len(without(key, a.members(), holders)) == len(a.members()), err
}

// awaitHolders returns the members that do not have the key when all of them
// have it or patience is over.
func (a *Authority) awaitHolders(ctx context.Context, key string, patience time.Duration) (missing []uint64, err error) {
	over := time.NewTimer(patience)
	defer over.Stop()
	for {
		changed := a.changed(keysBucket)
		holders, err := a.holders(ctx)
		if err != nil {
			return nil, err
		}
		if missing = without(key, a.members(), holders); len(missing) == 0 {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return missing, context.Cause(ctx)
		case <-over.C:
			return missing, nil
		case <-changed:
		}
	}
}

// sealAnew replaces all that is sealed by what the new key seals, in one commit
// with the state: whoever reads the one has what the other says.
func (a *Authority) sealAnew(ctx context.Context, r KeyRotation) error {
	for range storeAttempts {
		if err := a.refresh(ctx); err != nil {
			return err
		}
		if a.ca().record.sealedWith() == r.New {
			return nil // an attempt whose answer was lost
		}
		ops, err := a.resealed(ctx, r.New)
		if err != nil {
			return err
		}
		err = a.changeKeyState(ctx, func(s *keyState) error {
			if s.Next != r.New {
				return fmt.Errorf("%w: another one has begun meanwhile", ErrKeyRotation)
			}
			s.Next, s.Previous = "", r.Old
			return nil
		}, ops...)
		if errors.Is(err, errChanged) {
			continue
		}
		if err != nil {
			return err
		}
		a.Audit(ctx, Event{Act: ActKeys, What: "the CA is sealed with another cluster key", Detail: fmt.Sprintf("key %s instead of %s", r.New, r.Old)})
		return a.refresh(ctx)
	}
	return errChanged
}

// resealed are the changes that have all keys of the CA sealed by another one.
func (a *Authority) resealed(ctx context.Context, id string) ([]Op, error) {
	ring := a.vault.ring()
	to, has := ring.byID(id)
	if !has {
		return nil, fmt.Errorf("%w: cluster key %s is gone from this member", ErrKeyRotation, id)
	}
	items, err := a.config.Ledger.List(ctx, caBucket, nil)
	if err != nil {
		return nil, fmt.Errorf("read the CA from the ledger: %w", err)
	}
	var ops []Op
	for _, item := range items {
		value, err := reseal(item.Value, string(item.Key) == caKey, ring, to)
		if err != nil {
			return nil, fmt.Errorf("seal %s anew: %w", item.Key, err)
		}
		if value != nil {
			ops = append(ops, Op{Bucket: caBucket, Key: item.Key, Value: value, If: Equals, Old: item.Value})
		}
	}
	return ops, nil
}

// sealedWith is the id of the cluster key that seals the record.
func (r caRecord) sealedWith() string {
	if len(r.IntermediateKey) < sealHeaderSize {
		return ""
	}
	return fmt.Sprintf("%x", r.IntermediateKey[1:sealHeaderSize])
}

func hexIDs(members []uint64) string {
	var ids []string
	for _, m := range members {
		ids = append(ids, hexID(m))
	}
	return strings.Join(slices.Compact(ids), ", ")
}
