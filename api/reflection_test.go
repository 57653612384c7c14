// SPDX-License-Identifier: Apache-2.0

package api

import (
	"testing"

	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/cleatd/cleat/state"
)

// grpcurl is what a tool without our files does: it asks for a file by a symbol,
// then for what that imports, until it can do without asking.
type grpcurl struct {
	t      *testing.T
	stream reflectionpb.ServerReflection_ServerReflectionInfoClient
	files  map[string]*descriptorpb.FileDescriptorProto
}

func (g *grpcurl) ask(r *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
	g.t.Helper()
	if err := g.stream.Send(r); err != nil {
		g.t.Fatal(err)
	}
	reply, err := g.stream.Recv()
	if err != nil {
		g.t.Fatal(err)
	}
	if e := reply.GetErrorResponse(); e != nil {
		g.t.Fatalf("%v: %s", r, e.ErrorMessage)
	}
	return reply
}

func (g *grpcurl) take(r *reflectionpb.ServerReflectionRequest) {
	g.t.Helper()
	for _, raw := range g.ask(r).GetFileDescriptorResponse().FileDescriptorProto {
		f := new(descriptorpb.FileDescriptorProto)
		if err := proto.Unmarshal(raw, f); err != nil {
			g.t.Fatal(err)
		}
		g.files[f.GetName()] = f
	}
	for _, f := range g.files {
		for _, imported := range f.Dependency {
			if g.files[imported] == nil {
				g.take(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileByFilename{FileByFilename: imported}})
			}
		}
	}
}

// What the socket tells of its services is complete, for whoever may use it.
func TestTheSocketDescribesItsServices(t *testing.T) {
	s := startServer(t, func(c *Config) {
		c.SocketUsers = func(uint32, []uint32) (state.Identity, error) { return state.Identity{Name: "alice"}, nil }
	})
	stream, err := reflectionpb.NewServerReflectionClient(s.dial(t)).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g := &grpcurl{t: t, stream: stream, files: map[string]*descriptorpb.FileDescriptorProto{}}
	list := g.ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	var names []string
	for _, service := range list.GetListServicesResponse().Service {
		names = append(names, service.Name)
		g.take(&reflectionpb.ServerReflectionRequest{
			MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service.Name},
		})
	}
	set := new(descriptorpb.FileDescriptorSet)
	for _, f := range g.files {
		set.File = append(set.File, f)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, "etcdserverpb.KV", "v3lockpb.Lock", "v3electionpb.Election", "grpc.health.v1.Health") {
		if _, err := files.FindDescriptorByName(protoreflect.FullName(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, offered := s.network.Load().GetServiceInfo()[reflectionpb.ServerReflection_ServiceDesc.ServiceName]; offered {
		t.Error("the network's door describes its services, too")
	}
}
