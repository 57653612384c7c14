// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
)

func TestDowngrade(t *testing.T) { alike(t, both, downgrades) }

func downgrades(s *side) {
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	ask := func(action pb.DowngradeRequest_DowngradeAction, version string) {
		s.Helper()
		r := &pb.DowngradeRequest{Action: action, Version: version}
		reply, err := pb.NewMaintenanceClient(s.conn).Downgrade(ctx, r)
		s.note(describe(r), outcome(r, reply, err))
	}
	for _, action := range []pb.DowngradeRequest_DowngradeAction{pb.DowngradeRequest_VALIDATE, pb.DowngradeRequest_ENABLE} {
		for _, version := range []string{"", "x", "3", "3.", "3.7", "3.7.0", "3.7.3", "3.5", "3.8.0", "4.0", "2.3.8", "v3.6", "3.6.0.0", "3.7-rc", "3.7.1-rc.1", "3.7.1+build", "-1.2", " 3.7"} {
			ask(action, version)
		}
		s.excused("downgrade", func() { ask(pb.DowngradeRequest_VALIDATE, "3.6") })
		s.excused("downgrade", func() { ask(pb.DowngradeRequest_VALIDATE, "3.6.9") })
	}
	ask(pb.DowngradeRequest_CANCEL, "")
	ask(9, "3.6")
	s.post("/v3/maintenance/downgrade", `{"action":"VALIDATE","version":"3.7"}`, `{}`, `{"action":"CANCEL"}`)
}

// What load balancers ask.
func TestHealthService(t *testing.T) { alike(t, both, healthService) }

func healthService(s *side) {
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	health := healthpb.NewHealthClient(s.conn)
	for _, service := range []string{"", "etcdserverpb.KV", "none"} {
		reply, err := health.Check(ctx, &healthpb.HealthCheckRequest{Service: service})
		s.note("check "+service, outcome(nil, reply, err))
		watching, err := health.Watch(ctx, &healthpb.HealthCheckRequest{Service: service})
		if err != nil {
			s.Fatal(err)
		}
		reply, err = watching.Recv()
		s.note("watch "+service, outcome(nil, reply, err))
	}
	all, err := health.List(ctx, &healthpb.HealthListRequest{})
	s.note("list", outcome(nil, all, err))
}

// Reflection is for the socket; at the network's door there is none, as in etcd.
func TestNoReflectionOverTheNetwork(t *testing.T) {
	alike(t, []door{mutual}, func(s *side) {
		stream, err := reflectionpb.NewServerReflectionClient(s.conn).ServerReflectionInfo(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		_, err = stream.Recv()
		s.note("reflection", refusal(err))
	})
}

// What a request may say of itself beside its message.
func TestMetadata(t *testing.T) { alike(t, both, statedMetadata) }

func statedMetadata(s *side) {
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	for _, pair := range [][]string{
		{rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader}, {rpctypes.MetadataRequireLeaderKey, "no"}, {rpctypes.MetadataRequireLeaderKey, ""},
		{rpctypes.MetadataClientAPIVersionKey, "3.7"}, {rpctypes.MetadataClientAPIVersionKey, ""}, {"unknown", "x"},
	} {
		with := metadata.AppendToOutgoingContext(ctx, pair...)
		for _, r := range []proto.Message{put("a", "1"), get("a", ""), &pb.LeaseLeasesRequest{}} {
			reply, err := call(with, s.conn, r)
			s.note(fmt.Sprint(pair, describe(r)), outcome(r, reply, err))
		}
		watching, err := pb.NewWatchClient(s.conn).Watch(with)
		if err == nil {
			err = watching.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("a")}}})
		}
		if err != nil {
			s.Fatal(err)
		}
		reply, err := watching.Recv()
		s.note(fmt.Sprint(pair, "watch"), outcome(nil, reply, err))
	}
}
