// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"

	"github.com/cleatd/cleat/api"
)

// What members ask one another without a word in the log. The first byte says
// what it is; the numbers are spoken between versions.
const (
	askLease byte = iota + 1
	askRemove
	askHash
)

// asked answers another member, or this one.
func (d *Daemon) asked(ctx context.Context, _ uint64, question []byte) ([]byte, error) {
	if len(question) == 0 {
		return nil, fmt.Errorf("daemon: empty question")
	}
	switch question[0] {
	case askLease:
		return api.AnswerLease(ctx, d.keeper, question[1:])
	case askRemove:
		return d.answerRemove(ctx, question[1:])
	case askHash:
		return d.answerHash(ctx, question[1:])
	}
	return nil, fmt.Errorf("daemon: question of kind %d, which this version does not know", question[0])
}

// askLeader asks the leader about a lease.
func (d *Daemon) askLeader(ctx context.Context, question []byte) ([]byte, error) {
	return d.node.Ask(ctx, 0, append([]byte{askLease}, question...))
}
