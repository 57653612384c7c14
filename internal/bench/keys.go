// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// Every key has 32 bytes, every value 256.
const (
	getKeys   = 10_000 // what the get and txn measures choose from
	rangeKeys = 10_000
	txnPuts   = 100 // etcd takes at most 128 operations
)

// key is the i-th of a fixed, shuffled endless row.
func key(i uint64) string {
	return fmt.Sprintf("%016x%016x", scatter(i), scatter(^i))
}

func newKey() string   { return key(rand.Uint64()) }
func knownKey() string { return key(rand.Uint64N(getKeys)) }

// scatter is the splitmix64 finaliser: a permutation that looks random.
func scatter(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return bits.Reverse64(x ^ x>>31)
}

// rangeKey names the i-th of the keys of the range measure. No other key
// starts like them.
func rangeKey(i int) string { return fmt.Sprintf("%s%026d", rangePrefix, i) }

const rangePrefix = "range/"

const valueBytes = 256

// noise is where values come from: text that looks random.
var noise = sync.OnceValue(func() string {
	var b strings.Builder
	for i := range uint64(1 << 16) {
		fmt.Fprintf(&b, "%016x", scatter(i))
	}
	return b.String()
})

// value differs from call to call, so that no store gains by compressing
// neighbours, and costs the client nothing.
func value() string {
	from := rand.IntN(len(noise()) - valueBytes)
	return noise()[from : from+valueBytes]
}

// write puts n keys in transactions of 100, from writers side by side.
func (s *stage) write(ctx context.Context, writers, n int, name func(int) string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for first := 0; first < n && ctx.Err() == nil; first += txnPuts {
		group.Go(func() error {
			var puts []clientv3.Op
			for i := first; i < min(first+txnPuts, n); i++ {
				puts = append(puts, clientv3.OpPut(name(i), value()))
			}
			_, err := s.clients[(first/txnPuts)%len(s.clients)].Txn(ctx).Then(puts...).Commit()
			return err
		})
	}
	return group.Wait()
}

func ordinal(i int) string { return key(uint64(i)) }
