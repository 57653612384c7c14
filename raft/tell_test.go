// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"fmt"
	"testing"
	"time"
)

// Followers learn of each commit without hraft's reminder: callers there are
// answered, and whoever only listens is as new as the rest.
func TestFollowersAreToldWhatIsCommitted(t *testing.T) {
	c := newCluster(t)
	c.with = func(o *Config) { o.faults.commit = time.Hour }
	c.start(1)
	c.join(2)
	c.promote(2)
	c.join(3) // a learner only listens
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprint(i))
		c.members[uint64(1+i%2)].write(t, want[i])
		c.agree(t, want...)
	}
}
