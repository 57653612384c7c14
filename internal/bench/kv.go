// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

var serializable = clientv3.WithSerializable()

// clientOf shares the connections among the workers.
func (s *stage) clientOf(worker int) *clientv3.Client { return s.clients[worker%len(s.clients)] }

func puts(clients int) func(context.Context, *stage) (phase, error) {
	return func(ctx context.Context, s *stage) (phase, error) {
		return s.load(ctx, clients, repeat(func(ctx context.Context, worker int) error {
			_, err := s.clientOf(worker).Put(ctx, newKey(), value())
			return err
		}))
	}
}

func gets(clients int, options ...clientv3.OpOption) func(context.Context, *stage) (phase, error) {
	return func(ctx context.Context, s *stage) (phase, error) {
		return s.load(ctx, clients, repeat(func(ctx context.Context, worker int) error {
			r, err := s.clientOf(worker).Get(ctx, knownKey(), options...)
			if err == nil && len(r.Kvs) != 1 {
				return errors.New("a key is missing")
			}
			return err
		}))
	}
}

var errShort = errors.New("keys are missing from a range")

func ranges(ctx context.Context, s *stage) (phase, error) {
	return s.load(ctx, len(s.clients), repeat(func(ctx context.Context, worker int) error {
		r, err := s.clientOf(worker).Get(ctx, rangePrefix, clientv3.WithPrefix())
		if err == nil && len(r.Kvs) != rangeKeys {
			return errShort
		}
		return err
	}))
}

// rangesReceived asks for the same, but leaves the answers encoded: the
// client's decoding costs more than the server's part, and on shared cores it
// would be most of what is measured.
func rangesReceived(ctx context.Context, s *stage) (phase, error) {
	codec := received{encoding.GetCodecV2("proto")}
	var conns []*grpc.ClientConn
	for range s.clients {
		conn, err := s.member.dial(grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec)))
		if err != nil {
			return phase{}, err
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	request := &pb.RangeRequest{Key: []byte(rangePrefix), RangeEnd: []byte(clientv3.GetPrefixRangeEnd(rangePrefix))}
	least := rangeKeys * (len(rangeKey(0)) + len(value()))
	return s.load(ctx, len(conns), repeat(func(ctx context.Context, worker int) error {
		var size int
		err := conns[worker].Invoke(ctx, pb.KV_Range_FullMethodName, request, &size)
		if err == nil && size < least {
			return errShort
		}
		return err
	}))
}

// received is a codec that tells the size of what came, and no more.
type received struct{ encoding.CodecV2 }

func (received) Unmarshal(data mem.BufferSlice, into any) error {
	size, ok := into.(*int)
	if !ok {
		return fmt.Errorf("received: %T is no size", into)
	}
	*size = data.Len()
	return nil
}

// txns compare a key that exists and put it.
func txns(clients int) func(context.Context, *stage) (phase, error) {
	return func(ctx context.Context, s *stage) (phase, error) {
		return s.load(ctx, clients, repeat(func(ctx context.Context, worker int) error {
			k := knownKey()
			r, err := s.clientOf(worker).Txn(ctx).
				If(clientv3.Compare(clientv3.Version(k), ">", 0)).
				Then(clientv3.OpPut(k, value())).Commit()
			if err == nil && !r.Succeeded {
				return errors.New("a comparison failed")
			}
			return err
		}))
	}
}
