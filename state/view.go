// SPDX-License-Identifier: Apache-2.0

package state

import (
	"cmp"
	"maps"
	"slices"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/lease"
)

// View is all of the state at one moment, while commands go on being applied.
// One goroutine uses it at a time, and closes it.
type View struct{ *kv.View }

// View returns the state as it is after the newest commit.
func (m *Machine) View() (View, error) {
	v, err := m.store.View()
	return View{v}, err
}

// Leases returns the leases by ID.
func (v View) Leases() ([]lease.Lease, error) {
	t, err := lease.Load(leaseReader{v}, nil)
	if err != nil {
		return nil, err
	}
	return t.All(), nil
}

// Rules returns who may do what.
func (v View) Rules() (*auth.Rules, error) { return auth.Load(authReader{v}) }

// Cast is who a cluster is made of, and what somebody has to look after.
type Cast struct {
	Members []Member // by id
	Removed []uint64
	Alarms  []Alarm
}

// Cast returns the members as they are in the view.
func (v View) Cast() (Cast, error) {
	t, err := readRoll(v)
	if err != nil {
		return Cast{}, err
	}
	return Cast{
		Members: slices.SortedFunc(maps.Values(t.members), func(a, b Member) int { return cmp.Compare(a.ID, b.ID) }),
		Removed: slices.Sorted(maps.Keys(t.removed)),
		Alarms:  t.alarms,
	}, nil
}
