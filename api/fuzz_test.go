// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/api/recipe"
	"github.com/cleatd/cleat/auth"
)

// rpc is one method of the API, with the messages that it takes and gives.
type rpc struct {
	method         string
	request, reply proto.Message
	streams        bool
	recipe         bool // may wait for somebody who never comes, and has etcd's codes
}

// requests are valid ones to begin with, by method.
func requests() map[string]proto.Message {
	kv, lease, maintenance := "/etcdserverpb.KV/", "/etcdserverpb.Lease/", "/etcdserverpb.Maintenance/"
	locks, elections, leads := "/v3lockpb.Lock/", "/v3electionpb.Election/", &recipe.LeaderKey{Name: []byte("e"), Key: []byte("e/7"), Rev: 2, Lease: 7}
	cluster, health, local := "/etcdserverpb.Cluster/", "/grpc.health.v1.Health/", "/cleat.admin.v1.Admin/"
	reflected := &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "x"}}
	all := map[string]proto.Message{
		kv + "Range":                &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("b"), Limit: 3, SortOrder: 1, SortTarget: 2},
		kv + "Put":                  &pb.PutRequest{Key: []byte("a"), Value: []byte("v"), Lease: 7, PrevKv: true},
		kv + "DeleteRange":          &pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte{0}, PrevKv: true},
		kv + "Txn":                  fuzzTxn(),
		kv + "Compact":              &pb.CompactionRequest{Revision: 1, Physical: true},
		kv + "RangeStream":          &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}},
		"/etcdserverpb.Watch/Watch": watchCreate(&pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("z"), StartRevision: 1, PrevKv: true, Fragment: true}),
		lease + "LeaseGrant":        &pb.LeaseGrantRequest{ID: 7, TTL: 10},
		lease + "LeaseRevoke":       &pb.LeaseRevokeRequest{ID: 7},
		lease + "LeaseTimeToLive":   &pb.LeaseTimeToLiveRequest{ID: 7, Keys: true},
		lease + "LeaseLeases":       &pb.LeaseLeasesRequest{},
		lease + "LeaseKeepAlive":    &pb.LeaseKeepAliveRequest{ID: 7},
		maintenance + "Status":      &pb.StatusRequest{},
		maintenance + "Alarm":       &pb.AlarmRequest{Action: 1, Alarm: 1},
		maintenance + "Defragment":  &pb.DefragmentRequest{},
		maintenance + "Hash":        &pb.HashRequest{},
		maintenance + "HashKV":      &pb.HashKVRequest{Revision: 1},
		maintenance + "MoveLeader":  &pb.MoveLeaderRequest{TargetID: 9},
		maintenance + "Downgrade":   &pb.DowngradeRequest{Version: "3.6"},
		maintenance + "Snapshot":    &pb.SnapshotRequest{},
		cluster + "MemberList":      &pb.MemberListRequest{Linearizable: true},
		cluster + "MemberAdd":       &pb.MemberAddRequest{PeerURLs: []string{"x"}},
		cluster + "MemberRemove":    &pb.MemberRemoveRequest{ID: 9},
		cluster + "MemberPromote":   &pb.MemberPromoteRequest{ID: 9},
		cluster + "MemberUpdate":    &pb.MemberUpdateRequest{ID: 9, PeerURLs: []string{"https://x:1"}},
		locks + "Lock":              &recipe.LockRequest{Name: []byte("l"), Lease: 7},
		locks + "Unlock":            &recipe.UnlockRequest{Key: []byte("l/7")},
		elections + "Campaign":      &recipe.CampaignRequest{Name: []byte("e"), Lease: 7, Value: []byte("v")},
		elections + "Proclaim":      &recipe.ProclaimRequest{Leader: leads, Value: []byte("w")},
		elections + "Leader":        &recipe.LeaderRequest{Name: []byte("e")},
		elections + "Observe":       &recipe.LeaderRequest{Name: []byte("e")},
		elections + "Resign":        &recipe.ResignRequest{Leader: leads},
		health + "Check":            &healthpb.HealthCheckRequest{Service: "x"},
		health + "List":             &healthpb.HealthListRequest{},
		health + "Watch":            &healthpb.HealthCheckRequest{Service: "x"},
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      reflected,
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": reflected,
		local + "IssueCertificate":                                       &admin.IssueCertificateRequest{Csr: []byte("x"), Profile: "client", TtlSeconds: 9},
		local + "Status":                                                 &admin.StatusRequest{},
		local + "Invite":                                                 &admin.InviteRequest{Learner: true, TtlSeconds: 9, Uses: 2, Member: 7},
		local + "ListTokens":                                             &admin.ListTokensRequest{},
		local + "RevokeToken":                                            &admin.RevokeTokenRequest{Token: "x"},
		local + "Join":                                                   &admin.JoinRequest{Token: "x", Address: "y", Discard: true},
		local + "Recover":                                                &admin.RecoverRequest{ForceNewCluster: true},
		local + "Reload":                                                 &admin.ReloadRequest{},
		local + "CreateToken":                                            &admin.CreateTokenRequest{Client: "x", TtlSeconds: 9, Uses: 2},
		local + "CreateStepToken":                                        &admin.CreateStepTokenRequest{Profile: "client", Name: "x"},
		local + "CAStatus":                                               &admin.CAStatusRequest{},
		local + "RotateCA":                                               &admin.RotateCARequest{Act: "abort", Until: "trusted"},
		local + "RequestCA":                                              &admin.RequestCARequest{},
		local + "ImportCA":                                               &admin.ImportCARequest{CertificatesPem: []byte("x"), KeyPem: []byte("y")},
		local + "ListCertificates":                                       &admin.ListCertificatesRequest{Certificate: "x", Ended: true},
		local + "RevokeCertificate":                                      &admin.RevokeCertificateRequest{Certificate: "x", Reason: "superseded"},
		local + "RevocationList":                                         &admin.RevocationListRequest{Issuer: "x"},
		local + "Audit":                                                  &admin.AuditRequest{},
		local + "LockCA":                                                 &admin.LockCARequest{RemoveFile: true},
		local + "UnlockCA":                                               &admin.UnlockCARequest{Keys: []byte("x")},
		local + "RotateClusterKey":                                       &admin.RotateClusterKeyRequest{PatienceSeconds: 9},
		local + "ExportClusterKey":                                       &admin.ExportClusterKeyRequest{},
		local + "ConfirmExport":                                          &admin.ConfirmExportRequest{Id: "x"},
	}
	for name, r := range map[string]proto.Message{
		"AuthEnable": &pb.AuthEnableRequest{}, "AuthDisable": &pb.AuthDisableRequest{}, "AuthStatus": &pb.AuthStatusRequest{},
		"Authenticate":         &pb.AuthenticateRequest{Name: "root", Password: "root"},
		"UserAdd":              &pb.AuthUserAddRequest{Name: "root", Password: "root", Options: &authpb.UserAddOptions{}},
		"UserGet":              &pb.AuthUserGetRequest{Name: "root"},
		"UserList":             &pb.AuthUserListRequest{},
		"UserDelete":           &pb.AuthUserDeleteRequest{Name: "alice"},
		"UserChangePassword":   &pb.AuthUserChangePasswordRequest{Name: "root", HashedPassword: "IyM="},
		"UserGrantRole":        &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"},
		"UserRevokeRole":       &pb.AuthUserRevokeRoleRequest{Name: "root", Role: "a"},
		"RoleAdd":              &pb.AuthRoleAddRequest{Name: "a"},
		"RoleGet":              &pb.AuthRoleGetRequest{Role: "a"},
		"RoleList":             &pb.AuthRoleListRequest{},
		"RoleDelete":           &pb.AuthRoleDeleteRequest{Role: "a"},
		"RoleGrantPermission":  &pb.AuthRoleGrantPermissionRequest{Name: "a", Perm: &authpb.Permission{PermType: 2, Key: []byte("a"), RangeEnd: []byte("b")}},
		"RoleRevokePermission": &pb.AuthRoleRevokePermissionRequest{Role: "a", Key: []byte("a"), RangeEnd: []byte("b")},
	} {
		all["/etcdserverpb.Auth/"+name] = r
	}
	return all
}

// rpcs are the methods that a server offers at its widest door. One without a
// request to begin with is one that nobody thought of fuzzing.
func rpcs(t testing.TB, s *testServer) (all []rpc) {
	t.Helper()
	begin := requests()
	for service, info := range s.local.Load().GetServiceInfo() {
		for _, m := range info.Methods {
			r := rpc{method: "/" + service + "/" + m.Name, streams: m.IsClientStream || m.IsServerStream}
			r.recipe = strings.HasPrefix(service, "v3")
			if r.request = begin[r.method]; r.request == nil {
				t.Errorf("%s has no request to begin with", r.method)
				continue
			}
			described, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service + "." + m.Name))
			if err != nil {
				t.Fatal(err)
			}
			reply, err := protoregistry.GlobalTypes.FindMessageByName(described.(protoreflect.MethodDescriptor).Output().FullName())
			if err != nil {
				t.Fatal(err)
			}
			r.reply = reply.New().Interface()
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b rpc) int { return strings.Compare(a.method, b.method) })
	return all
}

// visited is a membership that counts who wants to change it.
type visited struct {
	loner
	changes atomic.Int64
}

func (v *visited) Add(ctx context.Context, urls []string, learner bool) (*pb.Member, error) {
	v.changes.Add(1)
	return v.loner.Add(ctx, urls, learner)
}
func (v *visited) Remove(context.Context, uint64) error           { return v.refuse() }
func (v *visited) Update(context.Context, uint64, []string) error { return v.refuse() }
func (v *visited) Promote(context.Context, uint64) error          { return v.refuse() }
func (v *visited) MoveLeader(context.Context, uint64) error       { return v.refuse() }

func (v *visited) refuse() error { v.changes.Add(1); return rpctypes.ErrGRPCMemberNotFound }

// startFuzzed offers all services. What is behind the admin ones is not built
// yet, which its callers are told.
func startFuzzed(t testing.TB) *testServer {
	t.Helper()
	return startServer(t, func(c *Config) {
		c.Members = new(visited)
		c.RegisterAdmin = func(r grpc.ServiceRegistrar) { admin.RegisterAdminServer(r, admin.UnimplementedAdminServer{}) }
	})
}

func fuzzTxn() *pb.TxnRequest {
	return &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte("a"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte("v")}}},
		Success: ops(putOp("a"), rangeOp(&pb.RangeRequest{Key: []byte("a")}), txnOp(ops(putOp("b")), ops(deleteOp("b", "")))),
		Failure: ops(deleteOp("a", "c"), putOp("d")),
	}
}

func watchCreate(r *pb.WatchCreateRequest) *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}
}

// rawCodec lets a client send and receive any bytes as a message.
type rawCodec struct{}

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

func (rawCodec) Name() string { return "proto" }

// ask sends bytes to a method and returns the first reply. The end of a
// stream without a reply is a reply of nothing.
func (r rpc) ask(ctx context.Context, conn *grpc.ClientConn, request []byte) (reply []byte, err error) {
	patience := 10 * time.Second
	if r.recipe {
		patience = 20 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if !r.streams {
		err = conn.Invoke(ctx, r.method, &request, &reply, grpc.ForceCodecV2(rawCodec{}))
		return reply, err
	}
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := conn.NewStream(ctx, desc, r.method, grpc.ForceCodecV2(rawCodec{}))
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(&request); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if _, watching := r.request.(*pb.WatchRequest); watching {
		// What is no watch request is passed over without an answer.
		probe, _ := proto.Marshal(watchCreate(&pb.WatchCreateRequest{Key: []byte("probe")}))
		_ = stream.SendMsg(&probe) // refused if the stream has ended, which RecvMsg tells
	}
	_ = stream.CloseSend() // never fails before the stream does
	err = stream.RecvMsg(&reply)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return reply, err
}

// standing is all that a request may change: keys and their history, whatever
// the state machine keeps beside them, and the membership.
func (s *testServer) standing() (string, error) {
	hash, err := s.store.HashKV(0)
	tables := fnv.New64a()
	for table := range 256 {
		err = errors.Join(err, s.store.Scan(byte(table), nil, func(key, value []byte) error {
			fmt.Fprintf(tables, "%d %q %q\n", table, key, value)
			return nil
		}))
	}
	m := s.config.Machine
	return fmt.Sprintf("keys %+v, compacted at %d, tables %x, %d leases, members %v, alarms %v, %d asked to change members",
		hash, s.store.Compacted(), tables.Sum64(), m.Leases().Len(), m.Members(), m.Alarms(), s.config.Members.(*visited).changes.Load()), err
}

// answered checks the one promise about bytes that nobody wrote: an error that
// is not this server's fault, or a valid reply.
func (r rpc) answered(ctx context.Context, s *testServer, conn *grpc.ClientConn, request []byte) error {
	if r.malformed(request) {
		return r.refused(ctx, s, conn, request)
	}
	reply, err := r.ask(ctx, conn, request)
	if err == nil {
		return proto.Unmarshal(reply, proto.Clone(r.reply))
	}
	code := status.Code(err)
	switch {
	case r.recipe && (code == codes.Unknown || code == codes.DeadlineExceeded):
		return nil
	case code == codes.Unknown && (strings.Contains(err.Error(), auth.ErrNoPassword.Error()) || strings.Contains(err.Error(), auth.ErrTooLong.Error())):
		return nil // what etcd gives no code
	}
	switch code {
	case codes.Internal, codes.Unknown, codes.DeadlineExceeded, codes.Unavailable:
		return fmt.Errorf("%x: well-formed bytes met a fault of the server: %w", request, err)
	}
	return nil
}

func (r rpc) malformed(request []byte) bool {
	return proto.Unmarshal(request, proto.Clone(r.request)) != nil
}

// refused checks that malformed bytes reach no handler and change nothing.
func (r rpc) refused(ctx context.Context, s *testServer, conn *grpc.ClientConn, requests ...[]byte) error {
	before, err := s.standing()
	if err != nil {
		return err
	}
	for _, request := range requests {
		reply, err := r.ask(ctx, conn, request)
		if err == nil {
			return fmt.Errorf("malformed bytes %x got the reply %x", request, reply)
		}
		if !r.streams && status.Code(err) == codes.Unimplemented { // a stream may end before it reads
			return fmt.Errorf("malformed bytes %x got as far as the handler: %w", request, err)
		}
	}
	after, err := s.standing()
	if err == nil && after != before {
		err = fmt.Errorf("malformed bytes, one of %x, changed the state:\n%s\nit was\n%s", requests, after, before)
	}
	return err
}

// What is fuzzed and no server offers would never be missed.
func TestWhatIsFuzzedIsOffered(t *testing.T) {
	offered := rpcs(t, startFuzzed(t))
	for method := range requests() {
		if !slices.ContainsFunc(offered, func(r rpc) bool { return r.method == method }) {
			t.Errorf("no server offers %s", method)
		}
	}
}

func FuzzRequests(f *testing.F) {
	s := startFuzzed(f)
	all := rpcs(f, s)
	for i, r := range all {
		valid, err := proto.Marshal(r.request)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), valid)
		f.Add(uint8(i), []byte{})
		f.Add(uint8(i), []byte{0xff})
		if len(valid) > 1 {
			f.Add(uint8(i), valid[:len(valid)-1])
		}
	}
	conn := s.dial(f)
	f.Fuzz(func(t *testing.T, which uint8, request []byte) {
		r := all[int(which)%len(all)]
		if err := r.answered(t.Context(), s, conn, request); err != nil {
			t.Fatalf("%s: %v", r.method, err)
		}
	})
}

// The same with mutations that do not need the fuzzer's engine. The malformed
// ones go together: looking at all of the state takes longer than asking.
func TestMutatedRequestsGetAnErrorOrAReply(t *testing.T) {
	s := startFuzzed(t)
	conn := s.dial(t)
	random := rand.New(rand.NewPCG(1, 2))
	for _, r := range rpcs(t, s) {
		valid, err := proto.Marshal(r.request)
		if err != nil {
			t.Fatal(err)
		}
		var malformed [][]byte
		for range 150 {
			request := mutate(random, valid)
			if r.malformed(request) {
				malformed = append(malformed, request)
			} else if err := r.answered(t.Context(), s, conn, request); err != nil {
				t.Fatalf("%s: %v", r.method, err)
			}
		}
		if err := r.refused(t.Context(), s, conn, malformed...); err != nil {
			t.Fatalf("%s: %v", r.method, err)
		}
	}
}

func mutate(random *rand.Rand, valid []byte) []byte {
	b := append([]byte(nil), valid...)
	for range 1 + random.IntN(3) {
		switch at := random.IntN(len(b) + 1); {
		case at == len(b):
			b = append(b, byte(random.Uint32()))
		case random.IntN(4) == 0:
			b = append(b[:at], b[at+1:]...)
		case random.IntN(2) == 0:
			b[at] ^= 1 << random.IntN(8)
		default:
			b[at] = byte(random.Uint32())
		}
	}
	return b
}
