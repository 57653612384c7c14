// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/version"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/state"
)

const maintenanceService = "etcdserverpb.Maintenance"

func (s *Server) maintenance() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: maintenanceService,
		Methods: []grpc.MethodDesc{
			unary(s, maintenanceService, "Status", s.status),
			unary(s, maintenanceService, "Alarm", s.alarm),
			unary(s, maintenanceService, "Defragment", s.defragment),
			unary(s, maintenanceService, "Hash", s.hash),
			unary(s, maintenanceService, "HashKV", s.hashKV),
			unary(s, maintenanceService, "MoveLeader", s.moveLeader),
			unary(s, maintenanceService, "Downgrade", unimplemented[*pb.DowngradeRequest]("there is no earlier version to go back to")),
		},
		Streams: []grpc.StreamDesc{s.stream(maintenanceService, "Snapshot", false, true, s.snapshot)},
	}
}

// unimplemented refuses an RPC and says why.
func unimplemented[P any](why string) func(context.Context, call, P) (any, error) {
	return func(context.Context, call, P) (any, error) {
		return nil, status.Error(codes.Unimplemented, "cleat: "+why)
	}
}

// status answers from this member alone, so that it answers without a quorum.
func (s *Server) status(context.Context, call, *pb.StatusRequest) (any, error) {
	raft := s.config.Node.Status()
	total, inUse := s.config.Machine.Store().Size()
	reply := &pb.StatusResponse{
		Header:           s.header.message(s.revision()),
		Version:          version.Version,
		StorageVersion:   storageVersion,
		DbSize:           total,
		DbSizeInUse:      inUse,
		DbSizeQuota:      s.config.QuotaBytes,
		Leader:           raft.Leader,
		RaftIndex:        raft.Commit,
		RaftTerm:         raft.Term,
		RaftAppliedIndex: raft.Applied,
		IsLearner:        raft.Learner,
		DowngradeInfo:    &pb.DowngradeInfo{},
	}
	if raft.Leader == 0 {
		reply.Errors = append(reply.Errors, "etcdserver: no leader")
	}
	for _, a := range s.alarms() {
		reply.Errors = append(reply.Errors, a.String())
	}
	return reply, nil
}

// alarms lists what the cluster has agreed upon, and this member's NOSPACE,
// which comes and goes with the free space of the disk; nobody has to disarm it.
func (s *Server) alarms() []*pb.AlarmMember {
	var alarms []*pb.AlarmMember
	for _, a := range s.config.Machine.Alarms() {
		alarms = append(alarms, &pb.AlarmMember{MemberID: a.Member, Alarm: a.Type})
	}
	if s.spaceLeft() != nil {
		alarms = append(alarms, &pb.AlarmMember{MemberID: s.config.MemberID, Alarm: pb.AlarmType_NOSPACE})
	}
	return alarms
}

func (s *Server) alarm(ctx context.Context, c call, r *pb.AlarmRequest) (any, error) {
	if r.Action == pb.AlarmRequest_GET {
		return s.listAlarms(r), nil
	}
	if r.Alarm != pb.AlarmType_CORRUPT {
		return nil, status.Error(codes.Unimplemented, "cleat: this alarm follows the disk: free space, and NOSPACE ends by itself")
	}
	// As etcd answers: what was raised, or taken back if it was there.
	told := s.listAlarms(r)
	on := r.Action == pb.AlarmRequest_ACTIVATE
	if on {
		told.Alarms = []*pb.AlarmMember{{MemberID: r.MemberID, Alarm: r.Alarm}}
	}
	reply, err := s.propose(ctx, c, state.AlarmCommand(c.caller.identity, state.Alarm{Type: r.Alarm, Member: r.MemberID}, on))
	if err != nil {
		return nil, err
	}
	told.Header = s.header.message(reply.Revision)
	return told, nil
}

func (s *Server) listAlarms(r *pb.AlarmRequest) *pb.AlarmResponse {
	reply := &pb.AlarmResponse{Header: s.header.message(s.revision())}
	for _, a := range s.alarms() {
		member := r.MemberID == 0 || r.MemberID == a.MemberID
		if member && (r.Alarm == pb.AlarmType_NONE || r.Alarm == a.Alarm) {
			reply.Alarms = append(reply.Alarms, a)
		}
	}
	return reply
}

// defragment has nothing to do: space comes back by itself. Scripts that call
// it are right to, so it succeeds.
func (s *Server) defragment(context.Context, call, *pb.DefragmentRequest) (any, error) {
	return &pb.DefragmentResponse{}, nil
}

func (s *Server) hashKV(_ context.Context, _ call, r *pb.HashKVRequest) (any, error) {
	h, err := s.config.Machine.Store().HashKV(r.Revision)
	if err != nil {
		return nil, err
	}
	return &pb.HashKVResponse{
		Header: s.header.message(h.Revision), Hash: h.Hash,
		CompactRevision: h.CompactRevision, HashRevision: h.HashRevision,
	}, nil
}

// hash is meant for tests, which compare members. The files of two members
// differ here, so it is the hash of their keys.
func (s *Server) hash(context.Context, call, *pb.HashRequest) (any, error) {
	h, err := s.config.Machine.Store().HashKV(0)
	if err != nil {
		return nil, err
	}
	return &pb.HashResponse{Header: s.header.message(h.Revision), Hash: h.Hash}, nil
}
