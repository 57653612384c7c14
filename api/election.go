// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/api/recipe"
	"github.com/cleatd/cleat/kv"
)

const electionService = "v3electionpb.Election"

// What an election refuses, in etcd's words.
var (
	errNoLeader      = unknown("election: no leader")
	errNotLeader     = unknown("election: not leader")
	errMissingLeader = unknown(`"leader" field must be provided`)
)

func unknown(text string) error { return status.Error(codes.Unknown, text) }

func (s *Server) election() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: electionService,
		Methods: []grpc.MethodDesc{
			unary(s, electionService, "Campaign", s.campaign),
			unary(s, electionService, "Proclaim", s.proclaim),
			unary(s, electionService, "Leader", s.leader),
			unary(s, electionService, "Resign", s.resign),
		},
		Streams: []grpc.StreamDesc{s.stream(electionService, "Observe", false, true, s.observe)},
	}
}

func (s *Server) campaign(ctx context.Context, c call, r *recipe.CampaignRequest) (any, error) {
	ctx, end := s.awaiting(ctx)
	defer end()
	reply, err := s.win(ctx, c, r)
	if err != nil {
		return nil, s.recipeFault("Campaign", err)
	}
	return reply, nil
}

func (s *Server) win(ctx context.Context, c call, r *recipe.CampaignRequest) (*recipe.CampaignResponse, error) {
	own, err := s.claim(ctx, c, r.Name, r.Lease)
	if err != nil {
		return nil, err
	}
	answer, err := s.transact(ctx, c.again(), &pb.TxnRequest{
		Compare: []*pb.Compare{absent(own.key)},
		Success: []*pb.RequestOp{asPut(own, r.Value)},
		Failure: []*pb.RequestOp{asRange(&pb.RangeRequest{Key: own.key})},
	})
	if err != nil {
		return nil, err
	}
	own.made = answer.Header.Revision
	if !answer.Succeeded {
		was := answer.Responses[0].GetResponseRange().Kvs[0]
		own.made = was.CreateRevision
		if !bytes.Equal(was.Value, r.Value) {
			if _, err := s.announce(ctx, c, own, r.Value); err != nil {
				s.withdraw(ctx, c, own)
				return nil, err
			}
		}
	}
	_, err = s.turn(ctx, c, own)
	switch {
	case errors.Is(err, errClaimGone):
		return nil, errNotLeader
	case err != nil:
		if ctx.Err() != nil {
			s.withdraw(ctx, c, own)
		}
		return nil, err
	}
	return &recipe.CampaignResponse{
		Header: answer.Header,
		Leader: &recipe.LeaderKey{Name: r.Name, Key: own.key, Rev: own.made, Lease: own.lease},
	}, nil
}

// announce changes the value of a claim that is still there.
func (s *Server) announce(ctx context.Context, c call, own claim, value []byte) (*pb.ResponseHeader, error) {
	answer, err := s.transact(ctx, c.again(), &pb.TxnRequest{
		Compare: []*pb.Compare{made(own.key, own.made)}, Success: []*pb.RequestOp{asPut(own, value)},
	})
	switch {
	case err != nil:
		return nil, err
	case !answer.Succeeded:
		return nil, errNotLeader
	}
	return answer.Header, nil
}

func (s *Server) proclaim(ctx context.Context, c call, r *recipe.ProclaimRequest) (any, error) {
	if r.Leader == nil {
		return nil, errMissingLeader
	}
	own, err := s.claim(ctx, c, r.Leader.Name, r.Leader.Lease)
	if err != nil {
		return nil, s.recipeFault("Proclaim", err)
	}
	own.key, own.made = r.Leader.Key, r.Leader.Rev
	header, err := s.announce(ctx, c, own, r.Value)
	if err != nil {
		return nil, s.recipeFault("Proclaim", err)
	}
	return &recipe.ProclaimResponse{Header: header}, nil
}

func (s *Server) resign(ctx context.Context, c call, r *recipe.ResignRequest) (any, error) {
	if r.Leader == nil {
		return nil, errMissingLeader
	}
	answer, err := s.transact(ctx, c, &pb.TxnRequest{
		Compare: []*pb.Compare{made(r.Leader.Key, r.Leader.Rev)}, Success: []*pb.RequestOp{asDelete(r.Leader.Key)},
	})
	if err != nil {
		return nil, s.recipeFault("Resign", err)
	}
	return &recipe.ResignResponse{Header: answer.Header}, nil
}

func (s *Server) leader(ctx context.Context, c call, r *recipe.LeaderRequest) (any, error) {
	first, revision, err := s.read(ctx, c, oldest(string(r.Name)+"/"))
	switch {
	case err != nil:
		return nil, s.recipeFault("Leader", err)
	case len(first) == 0:
		return nil, errNoLeader
	}
	return &recipe.LeaderResponse{Header: s.header.message(revision), Kv: first[0]}, nil
}

// observe tells of the leader that there is, or of the first one to come, then
// of each of its values until it is gone, and so on.
func (s *Server) observe(f *flow) error {
	r := new(recipe.LeaderRequest)
	if err := f.receive(r); err != nil {
		return err
	}
	name := string(r.Name) + "/"
	for {
		if err := s.observeOne(f, name); err != nil {
			if errors.Is(err, kv.ErrCompacted) {
				continue // it has fallen behind: who leads now is what counts
			}
			return s.recipeFault("Observe", err)
		}
	}
}

// observeOne returns when a leader is gone.
func (s *Server) observeOne(f *flow, name string) error {
	leads, revision, err := s.read(f.ctx, call{caller: f.caller}, oldest(name))
	if err != nil {
		return err
	}
	if len(leads) == 0 {
		next, err := s.nextClaim(f.ctx, name, revision)
		if err != nil {
			return err
		}
		leads, revision = []*mvccpb.KeyValue{next}, next.ModRevision
	}
	tell := func(revision int64, found *mvccpb.KeyValue) error {
		return f.send(&recipe.LeaderResponse{Header: s.header.message(revision), Kv: found})
	}
	if err := tell(revision, leads[0]); err != nil {
		return err
	}
	return s.follow(f.ctx, kv.Range{Key: leads[0].Key}, revision+1, func(revision int64, e kv.Event) (bool, error) {
		if e.Delete {
			return true, nil
		}
		value, err := keyValue(e)
		if err != nil {
			return false, err
		}
		return false, tell(revision, value)
	})
}

// nextClaim waits for the first claim on a name that has none.
func (s *Server) nextClaim(ctx context.Context, name string, revision int64) (found *mvccpb.KeyValue, err error) {
	r := kv.Range{Key: []byte(name), End: prefixEnd(name)}
	err = s.follow(ctx, r, revision+1, func(_ int64, e kv.Event) (bool, error) {
		if e.Delete {
			return false, nil
		}
		var err error
		found, err = keyValue(e)
		return true, err
	})
	return found, err
}

func keyValue(e kv.Event) (*mvccpb.KeyValue, error) {
	value := new(mvccpb.KeyValue)
	return value, proto.Unmarshal(e.Record, value)
}
