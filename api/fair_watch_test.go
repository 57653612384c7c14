// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// A watch goes on whatever its client reads, or does not read, over the same
// connection: grpc sends of each stream in turn, and its clients give back the
// connection's window when bytes arrive, not when they are read.
func TestAWatchIsNotHeldUpByLargeReadsOnItsConnection(t *testing.T) {
	s := startCrowded(t, 1<<30)
	for name, beside := range map[string]func(*testing.T, *grpc.ClientConn){
		"lists one after the other": func(t *testing.T, conn *grpc.ClientConn) {
			var group sync.WaitGroup
			stop := make(chan struct{})
			group.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						if _, err := pb.NewKVClient(conn).Range(t.Context(), everything()); err != nil && t.Context().Err() == nil {
							t.Error(err)
							return
						}
					}
				}
			})
			t.Cleanup(func() { close(stop); group.Wait() })
		},
		"an answer that nobody reads": func(t *testing.T, conn *grpc.ClientConn) { s.unread(t, conn, everything()) },
		"ten answers that nobody reads": func(t *testing.T, conn *grpc.ClientConn) {
			for range 10 {
				s.unread(t, conn, everything())
			}
		},
		"a RangeStream that nobody reads": func(t *testing.T, conn *grpc.ClientConn) {
			if _, err := pb.NewKVClient(conn).RangeStream(t.Context(), everything()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn, writer := s.narrow(t), pb.NewKVClient(s.dial(t))
			stream, err := pb.NewWatchClient(conn).Watch(t.Context())
			if err == nil {
				err = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("seen")}}})
			}
			if err == nil {
				_, err = stream.Recv() // created
			}
			if err != nil {
				t.Fatal(err)
			}
			beside(t, conn)
			for i := range 200 {
				value := fmt.Sprint(i)
				put(t, writer, "seen", []byte(value))
				r, err := stream.Recv()
				if err != nil || len(r.Events) != 1 || string(r.Events[0].Kv.Value) != value {
					t.Fatalf("event %d: %v, %v", i, r, err)
				}
			}
		})
	}
}
