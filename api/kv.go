// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/state"
)

const kvService = "etcdserverpb.KV"

func (s *Server) kv() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: kvService,
		Methods: []grpc.MethodDesc{
			unary(s, kvService, "Range", s.rangeKeys),
			unary(s, kvService, "Put", s.put),
			unary(s, kvService, "DeleteRange", s.deleteRange),
			unary(s, kvService, "Txn", s.txn),
			unary(s, kvService, "Compact", s.compact),
		},
		Streams: []grpc.StreamDesc{s.stream(kvService, "RangeStream", false, true, s.rangeStream)},
	}
}

func (s *Server) rangeKeys(ctx context.Context, c call, r *pb.RangeRequest) (any, error) {
	if err := checkRange(r); err != nil {
		return nil, err
	}
	if !r.Serializable {
		if err := s.sync(ctx, c.start); err != nil {
			return nil, err
		}
	}
	id, err := s.identify(ctx, c.caller)
	if err != nil {
		return nil, err
	}
	var result kv.Result
	err = s.step(ctx, "read", func(context.Context) (err error) {
		result, err = s.config.Machine.Range(id, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.header.records(result), nil
}

func (s *Server) rangeStream(f *flow) error {
	r := new(pb.RangeRequest)
	if err := f.receive(r); err != nil {
		return err
	}
	if err := checkRangeStream(r); err != nil {
		return err
	}
	if !r.Serializable {
		if err := s.sync(f.ctx, time.Now()); err != nil {
			return err
		}
	}
	id, err := s.identify(f.ctx, f.caller)
	if err != nil {
		return err
	}
	if r.CountOnly {
		result, err := s.config.Machine.Range(id, r)
		if err != nil {
			return err
		}
		return f.send(s.header.chunk(result, true))
	}
	// A chunk is known to be the last only when the stream has ended.
	var held *kv.Result
	err = s.config.Machine.Stream(id, r, func(result kv.Result) error {
		if err := context.Cause(f.ctx); err != nil {
			return err
		}
		if held != nil {
			if err := f.send(s.header.chunk(*held, false)); err != nil {
				return err
			}
		}
		held = &result
		return nil
	})
	if err != nil || held == nil {
		return err
	}
	return f.send(s.header.chunk(*held, true))
}

func (s *Server) put(ctx context.Context, c call, r *pb.PutRequest) (any, error) {
	if err := s.roomFor(ctx, state.PutRoom(r)); err != nil {
		return nil, err
	}
	if err := checkPut(r); err != nil {
		return nil, err
	}
	id, err := s.identify(ctx, c.caller)
	if err != nil {
		return nil, err
	}
	return s.write(ctx, c, state.PutCommand(id, r))
}

func (s *Server) deleteRange(ctx context.Context, c call, r *pb.DeleteRangeRequest) (any, error) {
	if err := checkDeleteRange(r); err != nil {
		return nil, err
	}
	id, err := s.identify(ctx, c.caller)
	if err != nil {
		return nil, err
	}
	return s.write(ctx, c, state.DeleteRangeCommand(id, r))
}

func (s *Server) txn(ctx context.Context, c call, r *pb.TxnRequest) (any, error) {
	if err := s.checkTxn(ctx, r); err != nil {
		return nil, err
	}
	reads := state.ReadOnly(r)
	if reads && !state.Serializable(r) {
		if err := s.sync(ctx, c.start); err != nil {
			return nil, err
		}
	}
	id, err := s.identify(ctx, c.caller)
	if err != nil {
		return nil, err
	}
	if !reads {
		return s.write(ctx, c, state.TxnCommand(id, r))
	}
	reply, err := s.config.Machine.Txn(id, r)
	if err != nil {
		return nil, err
	}
	return s.header.reply(reply), nil
}

func (s *Server) checkTxn(ctx context.Context, r *pb.TxnRequest) error {
	if err := s.roomFor(ctx, state.TxnRoom(r)); err != nil {
		return err
	}
	if err := checkTxn(r, s.config.MaxTxnOps); err != nil {
		return err
	}
	if _, err := checkOverlap(r.Success); err != nil {
		return err
	}
	_, err := checkOverlap(r.Failure)
	return err
}

func (s *Server) compact(ctx context.Context, c call, r *pb.CompactionRequest) (any, error) {
	id, err := s.admin(ctx, c.caller)
	if err != nil {
		return nil, err
	}
	reply, err := s.propose(ctx, c, state.CompactCommand(id, r))
	if err != nil {
		return nil, err
	}
	if r.Physical {
		if err := s.await(ctx, s.config.Machine.Compacted(r.Revision)); err != nil {
			return nil, err
		}
	}
	return s.header.reply(reply), nil
}

// await waits for something that may take longer than agreement does.
func (s *Server) await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.base.Done():
		return errStopping
	}
}

// write proposes a command and answers with its reply.
func (s *Server) write(ctx context.Context, c call, command []byte) (any, error) {
	reply, err := s.propose(ctx, c, command)
	if err != nil {
		return nil, err
	}
	return s.header.reply(reply), nil
}

func (s *Server) propose(ctx context.Context, c call, command []byte) (state.Reply, error) {
	if len(command) > s.config.MaxRequestBytes {
		return state.Reply{}, rpctypes.ErrGRPCRequestTooLarge
	}
	var reply state.Reply
	err := s.step(ctx, "agree", func(ctx context.Context) error {
		result, err := s.config.Node.Propose(s.patience.bound(ctx, c.start), command)
		if err != nil {
			return s.patience.verdict(ctx, err)
		}
		reply, err = state.ParseResult(result)
		return err
	})
	return reply, err
}

// sync returns when the local state is as new as the request.
func (s *Server) sync(ctx context.Context, start time.Time) error {
	return s.step(ctx, "sync", func(ctx context.Context) error {
		return s.patience.verdict(ctx, s.config.Node.Sync(s.patience.bound(ctx, start)))
	})
}

// roomFor refuses what this member has no room for. What another has no room
// for is refused when it is applied.
func (s *Server) roomFor(ctx context.Context, bytes int) error {
	if bytes == 0 || s.config.Room == nil || s.config.Room(ctx, bytes) {
		return nil
	}
	return rpctypes.ErrGRPCNoSpace
}
