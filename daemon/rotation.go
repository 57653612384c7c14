// SPDX-License-Identifier: Apache-2.0

package daemon

import "github.com/cleatd/cleat/pki"

// caMembers are those whose word a rotation of the CA waits for: the members
// that raft knows, whether they run or not. One that was announced and has not
// come has nothing to say, and begins with what counts when it comes.
type caMembers struct{ *Daemon }

var _ pki.Members = caMembers{}

func (m caMembers) IDs() []uint64 {
	var ids []uint64
	for _, s := range m.node.Members() {
		ids = append(ids, s.ID)
	}
	return ids
}

// Changed is told of rows, which change with the members.
func (m caMembers) Changed() <-chan struct{} { return m.machine.MembersChanged() }
