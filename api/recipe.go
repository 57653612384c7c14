// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/state"
)

// Locks and elections are recipes: a name stands for the keys that begin with
// it and a slash, each of which is somebody who wants it. A key ends with the
// number of its lease and lives as long as that. The oldest has what the name
// stands for, and whoever made another waits until all older ones are gone.
// etcd's client library does the same with the same keys, so the two can be
// mixed.

// recipeTTL is the life, in seconds, of a lease that the caller left to us.
const recipeTTL = 60

// claim is somebody's key below a name.
type claim struct {
	name  string // with the slash
	key   []byte
	lease int64
	made  int64 // the revision that made the key
}

// claim returns the claim that a lease makes, or will make, on a name.
func (s *Server) claim(ctx context.Context, c call, name []byte, lease int64) (claim, error) {
	if lease == 0 {
		r := &pb.LeaseGrantRequest{TTL: recipeTTL}
		if _, err := s.leaseGrant(ctx, c, r); err != nil {
			return claim{}, err
		}
		lease = r.ID
	}
	prefix := string(name) + "/"
	return claim{name: prefix, key: fmt.Appendf(nil, "%s%x", prefix, lease), lease: lease}, nil
}

// awaiting is the context of a call that may wait for others as long as its
// caller does. It ends when the server stops, and for those who insist on a
// leader also when there has been none for a while.
func (s *Server) awaiting(ctx context.Context) (context.Context, func()) {
	return s.streams.add(ctx, insistsOnLeader(ctx))
}

// again is the call as one that begins now: it has waited, but not for agreement.
func (c call) again() call { return call{caller: c.caller, start: time.Now()} }

// transact carries out a transaction as if a client had asked for it.
func (s *Server) transact(ctx context.Context, c call, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := s.checkTxn(ctx, r); err != nil {
		return nil, err
	}
	id, err := s.identify(ctx, c.caller)
	if err != nil {
		return nil, err
	}
	return s.transactAs(ctx, c, id, r)
}

func (s *Server) transactAs(ctx context.Context, c call, id state.Identity, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	var reply state.Reply
	var err error
	if state.ReadOnly(r) {
		if err := s.sync(ctx, c.start); err != nil {
			return nil, err
		}
		reply, err = s.config.Machine.Txn(id, r, nil) // a recipe asks for one key
	} else {
		reply, err = s.propose(ctx, c, state.TxnCommand(id, r))
	}
	if err != nil {
		return nil, err
	}
	out := new(pb.TxnResponse)
	if err := proto.Unmarshal(reply.Payload, out); err != nil {
		return nil, fmt.Errorf("decode what a transaction answered: %w", err)
	}
	out.Header = s.header.message(reply.Revision)
	return out, nil
}

// read answers one linearizable range, and the revision that it is of.
func (s *Server) read(ctx context.Context, c call, r *pb.RangeRequest) ([]*mvccpb.KeyValue, int64, error) {
	reply, err := s.transact(ctx, c.again(), &pb.TxnRequest{Success: []*pb.RequestOp{asRange(r)}})
	if err != nil {
		return nil, 0, err
	}
	return reply.Responses[0].GetResponseRange().Kvs, reply.Header.Revision, nil
}

// oldest asks for the first claim on a name.
func oldest(name string) *pb.RangeRequest {
	return &pb.RangeRequest{
		Key: []byte(name), RangeEnd: prefixEnd(name), Limit: 1,
		SortTarget: pb.RangeRequest_CREATE, SortOrder: pb.RangeRequest_ASCEND,
	}
}

// prefixEnd is the key after all that begin with a name and a slash.
func prefixEnd(name string) []byte {
	end := []byte(name)
	end[len(end)-1]++
	return end
}

// errClaimGone: a claim ended while it waited for its turn.
var errClaimGone = errors.New("api: the claim is gone")

// turn waits until all claims older than this one are gone, and says at which
// revision it was seen to be the first. It fails with errClaimGone if it is not
// there any more: its lease has ended, or it was withdrawn. A key that was made
// again is another claim, with others before it.
func (s *Server) turn(ctx context.Context, c call, own claim) (revision int64, err error) {
	youngest := &pb.RangeRequest{
		Key: []byte(own.name), RangeEnd: prefixEnd(own.name), Limit: 1, MaxCreateRevision: own.made - 1,
		SortTarget: pb.RangeRequest_CREATE, SortOrder: pb.RangeRequest_DESCEND,
	}
	for {
		seen, err := s.transact(ctx, c.again(), &pb.TxnRequest{
			Compare: []*pb.Compare{made(own.key, own.made)}, Success: []*pb.RequestOp{asRange(youngest)},
		})
		if err != nil {
			return 0, err
		}
		if !seen.Succeeded {
			return 0, errClaimGone
		}
		before := seen.Responses[0].GetResponseRange().Kvs
		if len(before) == 0 {
			return seen.Header.Revision, nil
		}
		if err := s.gone(ctx, before[0].Key, seen.Header.Revision); err != nil {
			return 0, err
		}
	}
}

// gone waits until a key that was there at a revision is deleted.
func (s *Server) gone(ctx context.Context, key []byte, revision int64) error {
	err := s.follow(ctx, kv.Range{Key: key}, revision+1, func(_ int64, e kv.Event) (bool, error) { return e.Delete, nil })
	if errors.Is(err, kv.ErrCompacted) {
		return nil // the caller looks again
	}
	return err
}

// follow calls fn for each event of a range, with the revision up to which there
// was no other, until fn says that it is done.
func (s *Server) follow(ctx context.Context, r kv.Range, from int64, fn func(revision int64, e kv.Event) (done bool, err error)) error {
	cursor := s.config.Hub.Watch(r, from)
	defer cursor.Close()
	for {
		batch, err := cursor.Next(ctx)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
		for _, e := range batch.Events {
			if done, err := fn(batch.Revision, e.Event); done || err != nil {
				return err
			}
		}
	}
}

// recipeFault is what the caller of a recipe is told. etcd's recipes are clients
// of their own server, and what that refuses they pass on without its code.
func (s *Server) recipeFault(rpc string, err error) error {
	if err == nil {
		return nil
	}
	told := status.Convert(fault(s.log, rpc, err))
	switch told.Code() {
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable, codes.Internal:
		return told.Err()
	}
	return status.Error(codes.Unknown, told.Message())
}

// made and absent compare the revision that made a key; absent ones have none.
func made(key []byte, revision int64) *pb.Compare {
	return &pb.Compare{
		Key: key, Target: pb.Compare_CREATE, Result: pb.Compare_EQUAL,
		TargetUnion: &pb.Compare_CreateRevision{CreateRevision: revision},
	}
}

func absent(key []byte) *pb.Compare { return made(key, 0) }

func asRange(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func asPut(own claim, value []byte) *pb.RequestOp {
	r := &pb.PutRequest{Key: own.key, Value: value, Lease: own.lease}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

func asDelete(key []byte) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key}}}
}

// withdraw deletes a claim of somebody who has stopped waiting, whose own
// context may have ended, and whose token or rights as well: it takes back what
// was made by right, so nobody is asked. If that fails the lease ends it.
func (s *Server) withdraw(ctx context.Context, c call, own claim) {
	r := &pb.TxnRequest{Compare: []*pb.Compare{made(own.key, own.made)}, Success: []*pb.RequestOp{asDelete(own.key)}}
	if _, err := s.transactAs(context.WithoutCancel(ctx), c.again(), state.Identity{Root: true}, r); err != nil {
		s.log.Debug("a claim stays until its lease ends", "cause", err)
	}
}

// is says that a key is the claim's.
func (own claim) is(found *mvccpb.KeyValue) bool {
	return found.CreateRevision == own.made && bytes.HasPrefix(found.Key, []byte(own.name))
}
