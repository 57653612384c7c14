// SPDX-License-Identifier: Apache-2.0

package raft

import "sync"

// crowd counts callers who must be let out before the doors close. The zero
// value is open and empty.
type crowd struct {
	mu     sync.Mutex
	inside int
	shut   bool
	empty  chan struct{} // made by close, closed once shut and nobody is inside
}

// enter lets a caller in, unless the doors are shut. Who is in must leave.
func (c *crowd) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shut {
		return false
	}
	c.inside++
	return true
}

func (c *crowd) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inside--
	c.settleLocked()
}

// close lets nobody in any more. It may be called once.
func (c *crowd) close() (empty <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut, c.empty = true, make(chan struct{})
	c.settleLocked()
	return c.empty
}

func (c *crowd) settleLocked() {
	if c.shut && c.inside == 0 {
		close(c.empty)
	}
}
