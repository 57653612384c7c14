// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestTheTallyIsThatOfAllClients(t *testing.T) {
	got := sum(2*time.Second, [][]time.Duration{{time.Second, 3 * time.Second}, nil, {2 * time.Second}}, []map[string]int{{"a": 1}, nil, {"a": 2, "b": 1}})
	if got.rate != 1.5 || got.slowest != 3 || math.Abs(got.spread-math.Sqrt(2.0/3)) > 1e-9 || got.failures["a"] != 3 || got.failures["b"] != 1 {
		t.Errorf("got %+v", got)
	}
	if none := sum(time.Second, nil, nil); none.rate != 0 || none.spread != 0 || len(none.failures) != 0 {
		t.Errorf("of nothing: %+v", none)
	}
}

// Who takes what is given out gets the rate; who was held up gets a tenth of a
// second's worth of what he missed, and the rate from then on.
func TestPutsAreGivenOutAtTheirRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		puts := make(chan clientv3.Op)
		go pace(ctx, 100, puts, func() clientv3.Op { return clientv3.OpPut("k", "v") })
		start, n := time.Now(), 0
		for range puts {
			if n++; n == 100 {
				time.Sleep(time.Second) // in the bubble's time
			}
		}
		if took := time.Since(start); took != 3*time.Second || n < 200 || n > 215 {
			t.Errorf("%d puts in %s", n, took)
		}
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Error(ctx.Err())
		}
	})
}

func TestRandomPutsHaveTheSizesOfEtcdctls(t *testing.T) {
	one, other := randomPut("/p/", 256, 1024), randomPut("/p/", 256, 1024)
	if len(one.KeyBytes()) != 259 || len(one.ValueBytes()) != 1024 || string(one.KeyBytes()) == string(other.KeyBytes()) {
		t.Errorf("%d and %d bytes, %q %q", len(one.KeyBytes()), len(one.ValueBytes()), one.KeyBytes(), other.KeyBytes())
	}
}
