// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// Standing is the CA and how far its rotation has come.
type Standing struct {
	Version       uint64
	Roots         []CACertificate // the one whose intermediate issues first
	Intermediates []CACertificate // the one that issues first
	Rotation      *Rotation       // nil: none is under way
}

// CACertificate is one of the CA's, and whether its key is the cluster's.
type CACertificate struct {
	*x509.Certificate
	Digest string // SHA-256, in hex
	Held   bool
}

// Rotation is one that is under way.
type Rotation struct {
	ID       string
	Kind     Kind
	Step     Step
	Until    Step // where it waits for an administrator; "" nowhere
	Back     bool // it was aborted after the new generation had issued
	Crossed  bool // clients that hold only the old root verify the new one's certificates
	By       string
	Begun    time.Time
	Members  []MemberStanding
	Arriving []uint64  // were let in and have not come: they may know of the old generation only
	Hanging  []Hanging // what hangs on the one that goes; from issuing on
}

// MemberStanding is how far a member is.
type MemberStanding struct {
	ID     uint64
	Trusts bool // it accepts what either generation issues
	Moved  bool // its own certificate is of the generation that issues
}

// Left counts those members that the step waits for.
func (r *Rotation) Left() int {
	n := len(r.Arriving)
	for _, m := range r.Members {
		if !m.Trusts || r.Step == StepIssuing && !m.Moved {
			n++
		}
	}
	return n
}

// Rotating returns the step of the rotation that is under way, as this member
// knows it, or "".
func (a *Authority) Rotating() Step {
	if r := a.ca().record.Rotation; r != nil {
		return r.Step
	}
	return ""
}

// Standing returns the CA as the cluster has it now. Members are the ids of all
// that there are, whether they run or not.
func (a *Authority) Standing(ctx context.Context, members []uint64) (Standing, error) {
	if err := a.refresh(ctx); err != nil {
		return Standing{}, err
	}
	s, _, err := a.standing(ctx, a.ca(), members)
	return s, err
}

// standing also returns the record that it is of.
func (a *Authority) standing(ctx context.Context, i *issuer, members []uint64) (Standing, caRecord, error) {
	r := i.record
	s := Standing{Version: r.Version}
	records := []generationRecord{r.generationRecord}
	if r.Rotation != nil {
		records = append(records, r.Rotation.Other)
	}
	for n, g := range i.generations {
		root := CACertificate{g.root, fingerprint(g.root), records[n].RootKey != nil}
		if n == 0 || !g.root.Equal(i.root) {
			s.Roots = append(s.Roots, root)
		}
		s.Intermediates = append(s.Intermediates, CACertificate{g.intermediate, fingerprint(g.intermediate), true})
	}
	if r.Rotation == nil {
		return s, r, nil
	}
	fresh := r.Rotation.Other // the one whose root the old one may have signed
	if r.Rotation.Step == StepIssuing && !r.Rotation.Back {
		fresh = r.generationRecord
	}
	s.Rotation = &Rotation{
		ID: r.Rotation.ID, Kind: r.Rotation.Kind, Step: r.Rotation.Step, Until: r.Rotation.Until, Back: r.Rotation.Back,
		By: r.Rotation.By, Begun: r.Rotation.Begun, Crossed: fresh.Cross != nil || len(i.roots) == 1,
	}
	var err error
	if s.Rotation.Members, err = a.memberStandings(ctx, i, members); err != nil {
		return s, r, err
	}
	if r.Rotation.Step == StepIssuing {
		if s.Rotation.Hanging, err = a.hanging(ctx, i.generations[1]); err != nil {
			return s, r, err
		}
	}
	if r.Rotation.Step != StepIssuing || r.Rotation.Back { // who is let in now has what stays
		s.Rotation.Arriving, err = a.arriving(ctx, members)
	}
	return s, r, err
}

func (a *Authority) memberStandings(ctx context.Context, i *issuer, members []uint64) ([]MemberStanding, error) {
	items, err := a.config.Ledger.List(ctx, seenBucket, nil)
	if err != nil {
		return nil, fmt.Errorf("read what the members say of the CA: %w", err)
	}
	said := map[string]seen{}
	for _, item := range items {
		if said[string(item.Key)], err = decodeSeen(item.Value); err != nil {
			return nil, err
		}
	}
	var out []MemberStanding
	for _, id := range members {
		of := said[hexID(id)]
		trusts := of.Format != 0 && of.Version >= i.record.Rotation.Since
		out = append(out, MemberStanding{ID: id, Trusts: trusts, Moved: trusts && of.Issuer == fingerprint(i.intermediate)})
	}
	slices.SortFunc(out, func(x, y MemberStanding) int { return cmp.Compare(x.ID, y.ID) })
	return out, nil
}

// arriving returns those who were let in with a token that is good still, and
// are no members yet.
func (a *Authority) arriving(ctx context.Context, members []uint64) ([]uint64, error) {
	tokens, err := a.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	var out []uint64
	for _, t := range tokens {
		if t.Client != "" || !t.Revoked.IsZero() || !time.Now().Before(t.Expires) {
			continue
		}
		for _, id := range t.Joined {
			if !slices.Contains(members, id) && !slices.Contains(out, id) && (a.config.Removed == nil || !a.config.Removed(id)) {
				out = append(out, id)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// Against says what stands against the next step now; nothing: it is taken.
func (r *Rotation) Against() []string {
	var waits []string
	add := func(format string, args ...any) { waits = append(waits, fmt.Sprintf(format, args...)) }
	if r.Step == r.Until {
		add("it waits at %q until an administrator has it go on (cleatctl ca rotate --continue)", r.Step)
	}
	for _, m := range r.Members {
		switch {
		case !m.Trusts:
			add("member %s has not said that it accepts both: start it, upgrade it if it is older than the others, or remove it (cleatctl member remove)", hexID(m.ID))
		case r.Step == StepIssuing && !m.Moved:
			add("member %s has no certificate of the one that issues yet: start it, unlock its CA (cleatctl ca unlock there), or remove it (cleatctl member remove)", hexID(m.ID))
		}
	}
	for _, id := range r.Arriving {
		add("member %s was let in and has not come: start it, or revoke its token (cleatctl token list)", hexID(id))
	}
	if len(r.Hanging) > 0 {
		n, last := 0, time.Time{}
		for _, h := range r.Hanging {
			n += h.Count
			if h.NotAfter.After(last) {
				last = h.NotAfter
			}
		}
		add("%s on the old one, the last until %s: issue those names new ones and wait, or cut them off (cleatctl ca rotate --finish --force)",
			countOf(n, "unexpired certificate"), stamp(last))
	}
	return waits
}

func countOf(n int, noun string) string {
	if n == 1 {
		return "1 " + noun + " hangs"
	}
	return fmt.Sprintf("%d %ss hang", n, noun)
}
