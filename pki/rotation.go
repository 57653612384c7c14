// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// A rotation puts another generation, a root with an intermediate, in the place
// of the one that issues. It is a part of the CA's record, so each step is one
// compare-and-swap, is known to every member, and lasts:
//
//	prepared   the new one is made; each member is to accept its certificates too
//	trusted    all do, and have said so
//	issuing    the new one issues; each member is to have a certificate of it;
//	           nobody else's certificate is to hang on the old one any more
//	(none)     the old one is dropped
//
// Clients that hold the old root or the new one verify every member at each
// step: the roots have signed each other, and what is shown behind a leaf leads
// to both. The leader goes on by itself (lead.go), unless it is told where to
// wait. A rotation that is aborted before the new generation has issued anything
// is gone at once; afterwards the two change places, and it ends like any other.

// Step is how far a rotation has come.
type Step string

// The steps.
const (
	StepPrepared Step = "prepared"
	StepTrusted  Step = "trusted"
	StepIssuing  Step = "issuing"
)

// Kind is what a rotation replaces, and by what.
type Kind string

// The kinds of rotation.
const (
	RotateRoot         Kind = "root"         // root and intermediate
	RotateIntermediate Kind = "intermediate" // under the same root
	RotateImport       Kind = "import"       // by an intermediate from elsewhere
)

// rotation is the part of the CA's record that a rotation is.
type rotation struct {
	ID    string           `json:"id"`
	Kind  Kind             `json:"kind"`
	Step  Step             `json:"step"`
	Since uint64           `json:"since"`           // the record's version with which the step began
	Until Step             `json:"until,omitempty"` // the step that it does not leave by itself
	Back  bool             `json:"back,omitempty"`  // it was aborted: what comes is what was
	By    string           `json:"by"`
	Begun time.Time        `json:"begun"`
	Other generationRecord `json:"other"` // the one that does not issue: the new one, from issuing on the old one
}

var errNoRotation = fmt.Errorf("%w: none is under way; cleatctl ca rotate --root or --intermediate begins one", ErrRotation)

// ParseStep returns the step of that name. The error is ErrStep.
func ParseStep(name string) (Step, error) {
	switch s := Step(name); s {
	case StepPrepared, StepTrusted, StepIssuing:
		return s, nil
	}
	return "", fmt.Errorf("%w: %q is none of %s, %s, %s", ErrStep, name, StepPrepared, StepTrusted, StepIssuing)
}

func newRotation(kind Kind, by string, until Step) *rotation {
	id := make([]byte, 8)
	_, _ = rand.Read(id) // never fails: crypto/rand ends the program instead
	return &rotation{
		ID: hex.EncodeToString(id), Kind: kind, Step: StepPrepared, Until: until,
		By: by, Begun: time.Now().UTC().Truncate(time.Second),
	}
}

// replaced returns the record that takes this one's place once change has made
// it what it is to be.
func (r caRecord) replaced(change func(*caRecord) error) (caRecord, error) {
	next := r
	next.Version++
	if r.Rotation != nil {
		copied := *r.Rotation
		next.Rotation = &copied
	}
	if err := change(&next); err != nil {
		return r, err
	}
	next.Format = caFormat
	if next.Rotation != nil || len(next.Between) != 0 {
		next.Format = caFormatRotating // an older version would take half of it for all
	}
	raw, err := json.Marshal(next)
	if err != nil {
		return caRecord{}, fmt.Errorf("encode the CA's record: %w", err)
	}
	next.raw = raw
	return next, nil
}

// swap has the other generation issue from now on.
func (r *caRecord) swap() {
	r.generationRecord, r.Rotation.Other = r.Rotation.Other, r.generationRecord
}

// enter begins a step.
func (r *caRecord) enter(s Step) {
	r.Rotation.Step, r.Rotation.Since = s, r.Version
}

// drop ends the rotation, and the other generation with it.
func (r *caRecord) drop() {
	r.Rotation, r.Cross = nil, nil
}

// putCA puts a record in the place of the one that it was made of, and adopts it.
// It returns false if that one is no longer the cluster's.
func (a *Authority) putCA(ctx context.Context, old, next caRecord, more ...Op) (bool, error) {
	ops := append([]Op{{Bucket: caBucket, Key: []byte(caKey), Value: next.raw, If: Equals, Old: old.raw}}, more...)
	done, err := a.config.Ledger.Commit(ctx, ops)
	if err != nil {
		return false, fmt.Errorf("record the CA: %w", err)
	}
	if !done {
		return false, nil
	}
	return true, a.refresh(ctx)
}

// changeCA changes the cluster's record by compare-and-swap, again for as long as
// others change it. What change returns is an error, or nil and the record is
// put.
func (a *Authority) changeCA(ctx context.Context, change func(old caRecord) (caRecord, []Op, error)) (caRecord, error) {
	for {
		if err := a.refresh(ctx); err != nil {
			return caRecord{}, err
		}
		old := a.ca().record
		next, ops, err := change(old)
		if err != nil {
			return old, err
		}
		if done, err := a.putCA(ctx, old, next, ops...); done || err != nil {
			return next, err
		}
	}
}

// Rotate begins a rotation of the kind, which must be RotateRoot or
// RotateIntermediate; the leader carries it on, and waits at until, if that is
// not "". The error is ErrRotating if one is under way, and ErrRotation if there
// can be none of this kind.
func (a *Authority) Rotate(ctx context.Context, kind Kind, until Step) error {
	return a.begin(ctx, kind, until, func(old caRecord, key clusterKey) (generationRecord, error) {
		switch kind {
		case RotateRoot:
			return makeSuccessor(ctx, a.config.ClusterID, old.generationRecord, key)
		case RotateIntermediate:
			return makeIntermediate(ctx, a.config.ClusterID, old.generationRecord, key)
		}
		return generationRecord{}, fmt.Errorf("%w: %q is none of %s, %s", ErrRotation, kind, RotateRoot, RotateIntermediate)
	})
}

// begin puts a generation beside the one that issues. Ops are part of the same
// commit.
func (a *Authority) begin(ctx context.Context, kind Kind, until Step, successor func(caRecord, clusterKey) (generationRecord, error), ops ...Op) error {
	next, err := a.changeCA(ctx, func(old caRecord) (caRecord, []Op, error) {
		if old.Rotation != nil {
			return old, nil, fmt.Errorf("%w: one of the %s, begun at %s, is %s; let it end (cleatctl ca status), or give it up first (cleatctl ca rotate --abort)",
				ErrRotating, old.Rotation.Kind, stamp(old.Rotation.Begun), old.Rotation.Step)
		}
		key, err := a.clusterKey()
		if err != nil {
			return old, nil, err
		}
		made, err := successor(old, key)
		if err != nil {
			return old, nil, err
		}
		next, err := old.replaced(func(next *caRecord) error {
			next.Rotation = newRotation(kind, a.config.Name, until)
			next.Rotation.Other = made
			next.enter(StepPrepared)
			return next.cross(key)
		})
		return next, ops, err
	})
	if err != nil {
		return err
	}
	a.Audit(ctx, Event{Act: ActRotate, What: "rotation of the CA begun", By: a.config.Name, Detail: fmt.Sprintf("rotation %s of kind %s", next.Rotation.ID, kind)})
	return nil
}

// Resume lets a rotation go on that waits for an administrator, up to until, or
// to its end. The error is ErrRotation if there is none.
func (a *Authority) Resume(ctx context.Context, until Step) error {
	_, err := a.changeCA(ctx, func(old caRecord) (caRecord, []Op, error) {
		if old.Rotation == nil {
			return old, nil, errNoRotation
		}
		next, err := old.replaced(func(next *caRecord) error { next.Rotation.Until = until; return nil })
		return next, nil, err
	})
	return err
}

// Abort gives a rotation up. What was never issued from is gone at once; else the
// two generations change places, and what the new one issued is replaced in turn.
// The error is ErrRotation if there is none, or if it was aborted before.
func (a *Authority) Abort(ctx context.Context) error {
	var id string
	_, err := a.changeCA(ctx, func(old caRecord) (caRecord, []Op, error) {
		switch {
		case old.Rotation == nil:
			return old, nil, errNoRotation
		case old.Rotation.Back:
			return old, nil, fmt.Errorf("%w: it is going back already; begin another one when it is back", ErrRotation)
		}
		id = old.Rotation.ID
		next, err := old.replaced(func(next *caRecord) error {
			if next.Rotation.Step != StepIssuing {
				next.drop()
				return nil
			}
			next.swap()
			next.Rotation.Back, next.Rotation.Until = true, ""
			next.enter(StepIssuing)
			return nil
		})
		return next, nil, err
	})
	if err == nil {
		a.Audit(ctx, Event{Act: ActRotate, What: "rotation of the CA aborted", By: a.config.Name, Detail: "rotation " + id})
	}
	return err
}
