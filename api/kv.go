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
	var held *load
	err = s.step(ctx, "read", func(context.Context) (err error) {
		if len(r.RangeEnd) == 0 {
			result, held, err = s.readOne(ctx, c, id, r)
			return err
		}
		result, held, err = s.readMany(ctx, c, id, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return settled(held, s.header.records(result, held)), nil
}

// readOne is readMany for one key, which is rarely large.
func (s *Server) readOne(ctx context.Context, c call, id state.Identity, r *pb.RangeRequest) (kv.Result, *load, error) {
	result, err := s.config.Machine.Range(id, r, nil)
	if err != nil {
		return result, nil, err
	}
	size := recordsSize(result)
	if size <= copied {
		return result, nil, nil
	}
	if held := c.caller.account.keep(size); held != nil {
		return result, held, nil
	}
	return s.readMany(ctx, c, id, r)
}

func (s *Server) readMany(ctx context.Context, c call, id state.Identity, r *pb.RangeRequest) (result kv.Result, held *load, err error) {
	held, err = s.fair.read(ctx, c.caller.account, func(step func(int) error) (size int, err error) {
		if result, err = s.config.Machine.Range(id, r, step); err != nil {
			return 0, err
		}
		size = recordsSize(result)
		if result.Frames == nil && size > copied {
			err = step(size) // what was put in order will be copied
		}
		return size, err
	})
	return result, held, err
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
		var result kv.Result
		_, err := s.fair.read(f.ctx, f.caller.account, func(step func(int) error) (_ int, err error) {
			result, err = s.config.Machine.Range(id, r, step)
			return 0, err
		})
		if err != nil {
			return err
		}
		return f.send(s.header.chunk(result, true))
	}
	p := s.fair.pieces(f)
	defer p.end()
	// A chunk is known to be the last only when the stream has ended.
	var held *kv.Result
	err = s.config.Machine.Stream(id, r, p.step, func(result kv.Result) error {
		p.sending()
		if err := context.Cause(f.ctx); err != nil {
			return err
		}
		if held != nil {
			if err := f.send(s.header.chunk(*held, false)); err != nil {
				return err
			}
		}
		held = &result
		return p.next(recordsSize(result))
	})
	p.sending()
	if err != nil || held == nil {
		return s.fair.verdict(err)
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
	var reply state.Reply
	held, err := s.fair.read(ctx, c.caller.account, func(step func(int) error) (_ int, err error) {
		reply, err = s.config.Machine.Txn(id, r, step)
		return len(reply.Payload), err
	})
	if err != nil {
		return nil, err
	}
	if held == nil {
		return s.header.reply(reply), nil
	}
	return settled(held, s.header.parts(reply, held)), nil
}

func (s *Server) checkTxn(ctx context.Context, r *pb.TxnRequest) error {
	if err := s.roomFor(ctx, state.TxnRoom(r)); err != nil {
		return err
	}
	if err := checkTxn(r, s.limits.Load().MaxTxnOps); err != nil {
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
	if len(command) > s.limits.Load().MaxRequestBytes {
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
	return s.syncUnder(ctx, start, s.patience.verdict)
}

func (s *Server) syncUnder(ctx context.Context, start time.Time, verdict func(context.Context, error) error) error {
	return s.step(ctx, "sync", func(ctx context.Context) error {
		return verdict(ctx, s.config.Node.Sync(s.patience.bound(ctx, start)))
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
