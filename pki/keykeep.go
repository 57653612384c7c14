// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// patient is up to which pause between attempts nobody is told of them.
const patient = 4 * time.Second

// KeyRequest asks another member for a cluster key.
type KeyRequest struct {
	Want string   // its id
	Have []string // ids of keys that the asking member has
}

// GiveKey answers a member of the cluster, whose list its caller has looked at:
// with a key that the ledger names, sealed with one that the member says it has.
// So a member's certificate alone, without its cluster key, gets nobody a key.
// The error is ErrLocked, ErrClusterKey or the ledger's.
func (a *Authority) GiveKey(ctx context.Context, member uint64, r KeyRequest) ([]byte, error) {
	ring := a.vault.ring()
	if len(ring) == 0 {
		return nil, a.vault.hold.Load().why
	}
	s, _, err := a.keyState(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.refresh(ctx); err != nil {
		return nil, err
	}
	if r.Want == "" || r.Want != s.Next && r.Want != a.ca().record.sealedWith() {
		return nil, fmt.Errorf("%w: key %q is neither in use nor about to be", ErrClusterKey, r.Want)
	}
	wanted, has := ring.byID(r.Want)
	if !has {
		return nil, fmt.Errorf("%w: this member does not have key %s either", ErrClusterKey, r.Want)
	}
	for _, id := range r.Have {
		if by, has := ring.byID(id); has && id != r.Want {
			a.Audit(ctx, Event{Act: ActKeys, What: "cluster key given to another member", Subject: member, Detail: fmt.Sprintf("key %s, sealed with %s", r.Want, id)})
			return by.sealBytes(roleClusterKey, wanted.secret), nil
		}
	}
	return nil, fmt.Errorf("%w: member %s has none of the keys that this one has", ErrClusterKey, hexID(member))
}

// obtain has this member hold the key durably, which another one may have to give.
func (a *Authority) obtain(ctx context.Context, id string) error {
	ring := a.vault.ring()
	if _, has := ring.byID(id); has {
		return nil
	}
	if len(ring) == 0 {
		return a.vault.hold.Load().why
	}
	if a.config.FetchKey == nil {
		return fmt.Errorf("%w: key %s, and there is nobody to ask for it", ErrClusterKey, id)
	}
	sealed, err := a.config.FetchKey(ctx, KeyRequest{Want: id, Have: ring.ids()})
	if err != nil {
		return fmt.Errorf("ask for cluster key %s: %w", id, err)
	}
	k, err := ring.openKey(sealed)
	if err != nil {
		return fmt.Errorf("cluster key %s from another member: %w", id, err)
	}
	if k.ID() != id {
		return fmt.Errorf("%w: asked for key %s, another member gave %s", ErrClusterKey, id, k.ID())
	}
	if err := a.vault.add(k); err != nil {
		return err
	}
	a.log.Info("cluster key taken up", "key", id)
	return nil
}

// nudge has the keeper look again.
func (a *Authority) nudge() {
	select {
	case a.keys <- struct{}{}:
	default: // it has yet to look
	}
}

// changed is closed when the bucket may have changed; nil if nobody tells.
func (a *Authority) changed(bucket string) <-chan struct{} {
	if a.config.Replica == nil {
		return nil
	}
	return a.config.Replica.Changed(bucket)
}

// keepKeys has this member hold the keys that the ledger names, say so, and
// forget those that nobody needs, for as long as ctx lives.
func (a *Authority) keepKeys(ctx context.Context) {
	for delay := firstRecord; ; {
		keys, ca := a.changed(keysBucket), a.changed(caBucket)
		err := a.tendKeys(ctx)
		var again <-chan time.Time
		if err != nil && ctx.Err() == nil {
			level := slog.LevelDebug // a member that starts has no leader yet
			if delay > patient {
				level = slog.LevelWarn
			}
			a.log.Log(ctx, level, "the cluster key is not as it should be yet", "err", err, "retry_in", delay)
			again, delay = time.After(delay), min(2*delay, lastRecord)
		} else {
			delay = firstRecord
		}
		select {
		case <-ctx.Done():
			return
		case <-keys:
		case <-ca:
		case <-a.keys:
		case <-again:
		}
	}
}

func (a *Authority) tendKeys(ctx context.Context) error {
	s, _, err := a.keyState(ctx)
	if err != nil {
		return err
	}
	var missed error
	if len(a.vault.ring()) > 0 {
		missed = a.followKeys(ctx, s)
	}
	if err := a.tellHolding(ctx); err != nil {
		return errors.Join(missed, err)
	}
	return errors.Join(missed, a.endRotation(ctx, s), a.dropKeys(ctx))
}

// followKeys gets what this member lacks, and opens the CA with it.
func (a *Authority) followKeys(ctx context.Context, s keyState) error {
	if s.Next != "" {
		if err := a.obtain(ctx, s.Next); err != nil {
			return err
		}
	}
	raw, err := a.config.Ledger.Get(ctx, caBucket, []byte(caKey))
	if err != nil || raw == nil {
		return err
	}
	record, err := decodeCA(raw)
	if err != nil {
		return err
	}
	if err := a.obtain(ctx, record.sealedWith()); err != nil {
		return err
	}
	if a.Locked() == nil && a.ca().record.sealedWith() == record.sealedWith() {
		return nil
	}
	return errors.Join(a.refresh(ctx), a.reopen())
}

// tellHolding records which keys this member has, if that is not known.
func (a *Authority) tellHolding(ctx context.Context) error {
	key := []byte(holderPrefix + hexID(a.config.MemberID))
	raw, err := a.config.Ledger.Get(ctx, keysBucket, key)
	if err != nil {
		return err
	}
	now := mustJSON(holding{Format: keysFormat, Keys: append([]string{}, a.vault.ring().ids()...)})
	if string(raw) == string(now) {
		return nil
	}
	if _, err := a.config.Ledger.Commit(ctx, []Op{{Bucket: keysBucket, Key: key, Value: now}}); err != nil {
		return fmt.Errorf("record which cluster keys this member has: %w", err)
	}
	return nil
}

// endRotation records that nobody needs the key of before any more.
func (a *Authority) endRotation(ctx context.Context, seen keyState) error {
	if seen.Previous == "" || seen.Next != "" {
		return nil
	}
	holders, err := a.holders(ctx)
	if err != nil {
		return err
	}
	if len(without(a.ca().record.sealedWith(), a.members(), holders)) > 0 {
		return nil
	}
	ended := false
	err = a.changeKeyState(ctx, func(s *keyState) error {
		ended = s.Previous == seen.Previous && s.Next == ""
		if ended {
			s.Previous = ""
		}
		return nil
	})
	if err == nil && ended {
		a.Audit(ctx, Event{Act: ActKeys, What: "all members have the cluster key", Detail: "key " + seen.Previous + " is forgotten"})
	}
	return err
}

// dropKeys forgets what nothing is sealed with any more. It goes by what the
// cluster knows now, and by a CA that this member has durably: one that it starts
// with next time must be one that it can open.
func (a *Authority) dropKeys(ctx context.Context) error {
	if !a.rotating.TryLock() {
		return nil // a key may be there before the ledger names it
	}
	defer a.rotating.Unlock()
	if a.Locked() != nil || len(a.vault.ring()) < 2 {
		return nil
	}
	s, _, err := a.keyState(ctx)
	if err != nil || s.Next != "" || s.Previous != "" {
		return err
	}
	if err := a.refresh(ctx); err != nil {
		return err
	}
	n, err := a.vault.drop(a.ca().record.sealedWith())
	if err != nil || n == 0 {
		return err
	}
	a.log.Info("old cluster keys dropped", "count", n)
	return a.tellHolding(ctx)
}
