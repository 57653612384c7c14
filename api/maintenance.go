// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"math"
	"regexp"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/api/v3/version"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/state"
)

const maintenanceService = "etcdserverpb.Maintenance"

func (s *Server) maintenance() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: maintenanceService,
		Methods: []grpc.MethodDesc{
			unary(s, maintenanceService, "Status", s.status),
			unary(s, maintenanceService, "Alarm", s.alarm),
			unary(s, maintenanceService, "Defragment", admins(s, s.defragment)),
			unary(s, maintenanceService, "Hash", admins(s, s.hash)),
			unary(s, maintenanceService, "HashKV", admins(s, s.hashKV)),
			unary(s, maintenanceService, "MoveLeader", admins(s, s.moveLeader)),
			unary(s, maintenanceService, "Downgrade", admins(s, s.downgrade)),
		},
		Streams: []grpc.StreamDesc{s.stream(maintenanceService, "Snapshot", false, true, s.adminsOnly(s.snapshot))},
	}
}

// status answers from this member alone, so that it answers without a quorum.
func (s *Server) status(ctx context.Context, c call, _ *pb.StatusRequest) (any, error) {
	if _, err := s.named(ctx, c.caller); err != nil {
		return nil, err
	}
	raft := s.config.Node.Status()
	total, inUse := s.config.Machine.Store().Size()
	reply := &pb.StatusResponse{
		Header:           s.header.message(s.revision()),
		Version:          version.Version,
		StorageVersion:   storageVersion,
		DbSize:           total,
		DbSizeInUse:      inUse,
		DbSizeQuota:      s.limits.Load().QuotaBytes,
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

// alarms lists what the cluster has agreed upon, and this member's NOSPACE while
// its disk is short: that is nobody else's, and ends by itself.
func (s *Server) alarms() []*pb.AlarmMember {
	var alarms []*pb.AlarmMember
	for _, a := range s.config.Machine.Alarms() {
		alarms = append(alarms, &pb.AlarmMember{MemberID: a.Member, Alarm: a.Type})
	}
	if s.config.Disk == nil || s.config.Disk() {
		return alarms
	}
	own := &pb.AlarmMember{MemberID: s.config.MemberID, Alarm: pb.AlarmType_NOSPACE}
	if slices.ContainsFunc(alarms, func(a *pb.AlarmMember) bool { return proto.Equal(a, own) }) {
		return alarms
	}
	return append(alarms, own)
}

// alarm lists alarms, of any member as in etcd, or raises one, which then stays
// until it is disarmed, or disarms one.
func (s *Server) alarm(ctx context.Context, c call, r *pb.AlarmRequest) (any, error) {
	if r.Action == pb.AlarmRequest_GET {
		if _, err := s.named(ctx, c.caller); err != nil {
			return nil, err
		}
		return s.listAlarms(ctx, c, r.Alarm)
	}
	id, err := s.admin(ctx, c.caller)
	if err != nil {
		return nil, err
	}
	on := r.Action == pb.AlarmRequest_ACTIVATE
	switch {
	case !on && r.Action != pb.AlarmRequest_DEACTIVATE:
		return nil, status.Errorf(codes.InvalidArgument, "cleat: alarms have no action %d", r.Action)
	case r.Alarm == pb.AlarmType_NONE:
		return &pb.AlarmResponse{Header: s.header.message(s.revision())}, nil
	case r.Alarm < 0 || r.Alarm > math.MaxUint8:
		return nil, status.Errorf(codes.InvalidArgument, "cleat: there is no alarm %d", r.Alarm)
	}
	return s.write(ctx, c, state.AlarmCommand(id, state.Alarm{Type: r.Alarm, Member: r.MemberID}, on))
}

func (s *Server) listAlarms(ctx context.Context, c call, kind pb.AlarmType) (any, error) {
	if err := s.sync(ctx, c.start); err != nil {
		return nil, err
	}
	reply := &pb.AlarmResponse{Header: s.header.message(s.revision())}
	for _, a := range s.alarms() {
		if kind == pb.AlarmType_NONE || kind == a.Alarm {
			reply.Alarms = append(reply.Alarms, a)
		}
	}
	return reply, nil
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

// downgrade answers as etcd does where it would refuse. There is no version to
// go back to, so no target is a good one, and no downgrade is ever under way.
func (s *Server) downgrade(_ context.Context, _ call, r *pb.DowngradeRequest) (any, error) {
	switch r.Action {
	case pb.DowngradeRequest_VALIDATE, pb.DowngradeRequest_ENABLE:
		if !versionFormat.MatchString(r.Version) {
			return nil, rpctypes.ErrGRPCWrongDowngradeVersionFormat
		}
		return nil, rpctypes.ErrGRPCInvalidDowngradeTargetVersion
	case pb.DowngradeRequest_CANCEL:
		return &pb.DowngradeResponse{Header: s.header.message(s.revision()), Version: strings.TrimSuffix(ClusterVersion, ".0")}, nil
	}
	return nil, status.Error(codes.Unknown, "etcdserver: unknown method") // as etcd says it
}

// versionFormat is what etcd takes for a version: two numbers, or a semantic one.
var versionFormat = regexp.MustCompile(`^\d+\.\d+(\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?)?$`)
