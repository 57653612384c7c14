// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// side is a server that a body speaks to, and the transcript of what it said.
// Only the goroutine of its test uses it.
type side struct {
	testing.TB
	server
	name string
	conn *grpc.ClientConn

	base       int64  // the revisions of a body begin behind it: 0 in a store that is new
	token      string // which requests carry; empty: none
	bearer     string // the same for those over HTTP
	user       string // whom etcd's client logs in, the password being the name; empty: nobody
	transcript []entry
}

// entry is a step and its outcome.
type entry struct {
	step, outcome string
	excuse        string // the name of the exception that lets it differ
}

// open starts a server and waits until it answers.
func (d door) open(t testing.TB, flags ...string) *side {
	t.Helper()
	s := connect(t, d.name, d.start(t, flags...))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := pb.NewKVClient(s.conn).Range(ctx, &pb.RangeRequest{Key: []byte("ready")}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatalf("%s does not answer: %v", s.name, err)
	}
	return s
}

// connect makes a side of a server, which need not answer yet.
func connect(t testing.TB, name string, at server) *side {
	t.Helper()
	s := &side{TB: t, server: at, name: name}
	transport := insecure.NewCredentials()
	if s.tls != nil {
		transport = credentials.NewTLS(s.tls)
	}
	var err error
	s.conn, err = grpc.NewClient(s.target(), grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.conn.Close() })
	return s
}

// ask sends requests, one after the other, and writes down each outcome.
func (s *side) ask(requests ...proto.Message) {
	s.Helper()
	for _, r := range requests {
		s.askFor(r)
	}
}

// askFor returns the response too, nil after a refusal.
func (s *side) askFor(r proto.Message) proto.Message {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	reply, err := call(s.bearing(ctx), s.conn, s.rebased(r))
	s.note(describe(r), outcome(r, reply, err))
	if err != nil {
		return nil
	}
	return reply
}

// rebased counts the revisions that a request names from the base.
func (s *side) rebased(r proto.Message) proto.Message {
	if s.base == 0 {
		return r
	}
	r = proto.Clone(r)
	walk(r.ProtoReflect(), func(m protoreflect.Message) {
		m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			if f.Kind() == protoreflect.Int64Kind && strings.HasSuffix(string(f.Name()), "revision") && v.Int() > 0 {
				m.Set(f, protoreflect.ValueOfInt64(v.Int()+s.base))
			}
			return true
		})
	})
	return r
}

// bearing adds the token to what a request carries.
func (s *side) bearing(ctx context.Context) context.Context {
	if s.token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "token", s.token)
}

// note writes down a step.
func (s *side) note(step, outcome string) {
	s.transcript = append(s.transcript, entry{step: step, outcome: outcome})
}

// excused says that what body does differs, for the reason in the table.
func (s *side) excused(name string, body func()) {
	s.Helper()
	if _, listed := exceptions[name]; !listed {
		s.Fatalf("%q is not in the table of exceptions", name)
	}
	before := len(s.transcript)
	body()
	for i := before; i < len(s.transcript); i++ {
		s.transcript[i].excuse = name
	}
}

// call sends a request to the method that takes it.
func call(ctx context.Context, conn *grpc.ClientConn, r proto.Message) (proto.Message, error) {
	method := unary[r.ProtoReflect().Descriptor().FullName()]
	if method == nil {
		return nil, fmt.Errorf("no method takes a %T", r)
	}
	kind, err := protoregistry.GlobalTypes.FindMessageByName(method.Output().FullName())
	if err != nil {
		return nil, err
	}
	reply := kind.New().Interface()
	return reply, conn.Invoke(ctx, fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name()), r, reply)
}

// unary is etcd's methods without streams, by what they take.
var unary = func() map[protoreflect.FullName]protoreflect.MethodDescriptor {
	found := map[protoreflect.FullName]protoreflect.MethodDescriptor{}
	services := pb.File_rpc_proto.Services()
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			if m := methods.Get(j); !m.IsStreamingClient() && !m.IsStreamingServer() {
				found[m.Input().FullName()] = m
			}
		}
	}
	return found
}()
