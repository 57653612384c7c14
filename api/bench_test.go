// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/cleatd/cleat/raft"
)

// yes agrees to everything at once: what remains is the cost of the door.
type yes struct{ result []byte }

func (y yes) Propose(context.Context, []byte) ([]byte, error) { return y.result, nil }
func (y yes) Sync(context.Context) error                      { return nil }
func (y yes) Status() raft.Status                             { return raft.Status{Leader: 42, Term: 3} }

// BenchmarkPutAtTheDoor is a put over mTLS that nobody carries out. cpu-µs/op
// counts this process, so the clients too.
func BenchmarkPutAtTheDoor(b *testing.B) {
	for _, connections := range []int{1, 100} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			ours := newAuthority(b)
			s := startServer(b, func(c *Config) { c.Node = yes{[]byte{0, 2}} })
			address := startTLS(b, s, ours.serverConfig(b))
			config := ours.clientConfig(ours.issue(b, "alice", time.Now().Add(time.Hour)))
			clients := make([]pb.KVClient, connections)
			put := &pb.PutRequest{Key: make([]byte, 32), Value: make([]byte, 256)}
			for i := range clients {
				conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
				if err != nil {
					b.Fatal(err)
				}
				defer conn.Close()
				clients[i] = pb.NewKVClient(conn)
				if _, err := clients[i].Put(b.Context(), put); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			before := cpu()
			b.ResetTimer()
			var workers sync.WaitGroup
			const callers = 200
			for i := range callers {
				workers.Go(func() {
					for range b.N / callers {
						if _, err := clients[i%connections].Put(b.Context(), put); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			workers.Wait()
			b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

// cpu is the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
