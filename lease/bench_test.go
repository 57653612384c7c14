// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"
)

// nowhere is a Writer without leases' attachments, so that the table alone is
// measured.
type nowhere struct{}

func (nowhere) Set(_, _ []byte)                                  {}
func (nowhere) Delete([]byte)                                    {}
func (nowhere) Scan([]byte, func(key, value []byte) error) error { return nil }

// sizes show that the cost of one lease does not grow with their number.
var sizes = []int{1_000, 10_000, 100_000}

// scattered spreads IDs as random ones are.
func scattered(i int) int64 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(i+1)*0x9E3779B97F4A7C15)
	return int64(binary.BigEndian.Uint64(b[:]))
}

func leading(b *testing.B, leases int, ttl func(i int) int64) (*Table, *Keeper, *clocks) {
	b.Helper()
	table, err := Load(nowhere{}, nil)
	must(b, err)
	k := NewKeeper(table, KeeperOptions{Confirm: leads, Expire: func(_ context.Context, refs []Ref) error {
		for _, r := range refs {
			if _, err := table.Revoke(nowhere{}, r.ID); err != nil {
				return err
			}
		}
		return nil
	}})
	s, err := k.begin()
	must(b, err)
	for i := range leases {
		must(b, table.Grant(nowhere{}, scattered(i), ttl(i), 1))
	}
	s.catchUp(k.now())
	return table, k, s
}

// BenchmarkGrant grants a lease among many and revokes it, so that their number
// stays.
func BenchmarkGrant(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table, k, s := leading(b, n, func(i int) int64 { return int64(60 + i%600) })
			i := n
			b.ReportAllocs()
			for b.Loop() {
				id := scattered(i)
				must(b, table.Grant(nowhere{}, id, int64(60+i%600), 1))
				s.catchUp(k.now())
				_, err := table.Revoke(nowhere{}, id)
				must(b, err)
				s.catchUp(k.now())
				i++
			}
		})
	}
}

func BenchmarkRenew(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			_, k, _ := leading(b, n, func(i int) int64 { return int64(60 + i%600) })
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				if _, err := k.Renew(context.Background(), scattered(i%n)); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

// BenchmarkExpire lets all leases run out and reports the cost of one.
func BenchmarkExpire(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var spent time.Duration
			for b.Loop() {
				b.StopTimer()
				table, k, s := leading(b, n, func(int) int64 { return 0 })
				b.StartTimer()
				start := time.Now()
				for table.Len() > 0 {
					expired, _, _ := k.due(s)
					must(b, k.expire(context.Background(), s, expired))
				}
				spent += time.Since(start)
			}
			b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N*n), "ns/lease")
			b.ReportMetric(0, "ns/op")
		})
	}
}
