// SPDX-License-Identifier: Apache-2.0

package state

import (
	"fmt"
	"time"

	"github.com/cleatd/cleat/auth"
)

// What a caller may read is decided by the rules, and they change by the same
// log as the keys. A reader must not see keys by rules that a command before
// them has replaced, so rules and keys change for readers at one moment:
//
//	apply:  unsettle ── commit the batch ── settle with the new rules
//	reader: settled ── decide ── read ── stillBy, or all again
//
// A reader that began before sees at the end that the rules are others; one
// that comes in between waits for the commit.

// tokenTTL is the life of a simple token that is not shown, if nobody says.
const tokenTTL = 5 * time.Minute

// rules are those that hold now.
type rules struct {
	*auth.Rules
	settling chan struct{} // closed when others have come; nil: these hold
}

// settled returns the rules that hold.
func (m *Machine) settled() *rules {
	for {
		r := m.rules.Load()
		if r.settling == nil {
			return r
		}
		<-r.settling
	}
}

// stillBy says that what was read since settled returned by was read by it.
func (m *Machine) stillBy(by *rules) bool { return m.rules.Load() == by }

// unsettle holds up readers until settle is called, once, with the rules that
// hold then. None are those that were reloaded meanwhile, or those there were.
// The caller holds mu.
func (m *Machine) unsettle() (settle func(*auth.Rules)) {
	was := m.rules.Load()
	between := &rules{Rules: was.Rules, settling: make(chan struct{})}
	m.rules.Store(between)
	return func(next *auth.Rules) {
		if m.rules.Load() == between {
			if next == nil {
				next = was.Rules
			}
			m.rules.Store(&rules{Rules: next})
		}
		close(between.settling)
	}
}

// reloadRules takes over what the store has.
func (m *Machine) reloadRules() error {
	r, err := auth.Load(authReader{m.store})
	if err != nil {
		return fmt.Errorf("read users and roles: %w", err)
	}
	m.rules.Store(&rules{Rules: r})
	return nil
}

type authReader struct{ from scanner }

func (r authReader) Scan(prefix []byte, fn func(key, value []byte) error) error {
	return r.from.Scan(tableAuth, prefix, fn)
}

// Rules returns who may do what. They go with keys that are read later only by
// the machine's own methods.
func (m *Machine) Rules() *auth.Rules { return m.settled().Rules }
