// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/cleatd/cleat/pki"
)

var errLoginLedger = errors.New("ledger: no leader")

// loginLedger is a ledger in memory that can fail.
type loginLedger struct {
	*memoryLedger
	broken atomic.Bool // every call fails with errLoginLedger
}

func newLoginLedger() *loginLedger { return &loginLedger{memoryLedger: newLedger()} }

func (l *loginLedger) Get(ctx context.Context, bucket string, key []byte) ([]byte, error) {
	if l.broken.Load() {
		return nil, errLoginLedger
	}
	return l.memoryLedger.Get(ctx, bucket, key)
}

func (l *loginLedger) Commit(ctx context.Context, ops []pki.Op) (bool, error) {
	if l.broken.Load() {
		return false, errLoginLedger
	}
	return l.memoryLedger.Commit(ctx, ops)
}
