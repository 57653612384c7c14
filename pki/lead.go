// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// lookEvery is how often the leader looks whether certificates hang on the old
// generation still: they end without anybody saying so.
const lookEvery = time.Minute

// Members are those of the cluster, as its leader knows them.
type Members interface {
	// IDs are of all that there are, whether they run or not.
	IDs() []uint64
	// Changed returns a channel that is closed when they may be others.
	Changed() <-chan struct{}
}

// Lead carries rotations on for as long as ctx lives, which is as long as this
// member leads. It returns nil. Config.Replica must be there.
func (a *Authority) Lead(ctx context.Context, members Members) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for told := ""; ; {
		changes := []<-chan struct{}{members.Changed()}
		for _, bucket := range []string{caBucket, seenBucket, tokensBucket, bucketPrefix + revokedTable} {
			changes = append(changes, a.config.Replica.Changed(bucket))
		}
		on, err := a.Advance(ctx, members.IDs())
		if on {
			continue
		}
		if err != nil && ctx.Err() == nil && err.Error() != told {
			told = err.Error()
			a.log.Warn("the rotation of the CA does not go on yet; trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changes[0]:
		case <-changes[1]:
		case <-changes[2]:
		case <-changes[3]:
		case <-changes[4]:
		case <-tick.C:
		}
	}
}

// Advance takes the rotation one step on, if there is one and nothing stands
// against it, and says whether it did.
func (a *Authority) Advance(ctx context.Context, members []uint64) (bool, error) {
	if err := a.refresh(ctx); err != nil {
		return false, err
	}
	i := a.ca()
	if i.record.Rotation == nil {
		return false, nil
	}
	s, old, err := a.standing(ctx, i, members)
	if err != nil || len(s.Rotation.Against()) > 0 {
		return false, err
	}
	return a.stepOn(ctx, old)
}

// stepOn puts the record of the next step. That nothing stands against it was
// known of this very record.
func (a *Authority) stepOn(ctx context.Context, old caRecord) (bool, error) {
	if old.Rotation.Step == StepIssuing {
		a.lastLists(ctx)
	}
	next, err := old.replaced(func(next *caRecord) error {
		switch next.Rotation.Step {
		case StepPrepared:
			next.enter(StepTrusted)
		case StepTrusted:
			next.swap()
			next.enter(StepIssuing)
		case StepIssuing:
			next.drop()
		default:
			return fmt.Errorf("%w: the rotation is at %q, which this version does not know", ErrFormat, next.Rotation.Step)
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	done, err := a.putCA(ctx, old, next)
	if !done || err != nil {
		return false, err
	}
	what := "old generation of the CA dropped"
	if next.Rotation != nil {
		what = "rotation of the CA is " + string(next.Rotation.Step)
	}
	a.Audit(ctx, Event{Act: ActRotate, What: what, Detail: fmt.Sprintf("rotation %s of kind %s", old.Rotation.ID, old.Rotation.Kind)})
	return true, nil
}

// lastLists has the list of a generation say all that is revoked before it is
// dropped: whoever goes by that list has no later one. Its last certificate may be
// revoked just now, which is why it is dropped. Where no list can be signed, as
// with an intermediate from elsewhere, the drop is not held up.
func (a *Authority) lastLists(ctx context.Context) {
	var err error
	for range storeAttempts {
		if _, err = a.makeCRLs(ctx); !errors.Is(err, errChanged) {
			break
		}
	}
	if err != nil {
		a.log.Warn("the last revocation list of what is dropped may lack the newest", "err", err)
	}
}

// Finish drops the old generation now. Certificates that hang on it must be
// forced off; members cannot be. The error is ErrRotation, and says what stands
// against it.
func (a *Authority) Finish(ctx context.Context, members []uint64, force bool) error {
	for {
		if err := a.refresh(ctx); err != nil {
			return err
		}
		s, old, err := a.standing(ctx, a.ca(), members)
		if err != nil {
			return err
		}
		if s.Rotation == nil {
			return errNoRotation
		}
		if s.Rotation.Step != StepIssuing {
			return fmt.Errorf("%w: it is at %q, and the new one has issued nothing yet: let it go on, or give it up (cleatctl ca rotate --abort)", ErrRotation, s.Rotation.Step)
		}
		s.Rotation.Until = ""
		if force {
			s.Rotation.Hanging = nil
		}
		if why := s.Rotation.Against(); len(why) > 0 {
			return fmt.Errorf("%w: the old one is not dropped: %s", ErrRotation, strings.Join(why, "; "))
		}
		if done, err := a.stepOn(ctx, old); done || err != nil {
			return err
		}
	}
}
