// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// etcdFiles are etcd's protocol files: the names that they were compiled by, and
// those by which they import one another. As they are, nobody who asks for a
// service's files gets all of them.
var etcdFiles = map[string]string{
	"rpc.proto":     "etcd/api/etcdserverpb/rpc.proto",
	"kv.proto":      "etcd/api/mvccpb/kv.proto",
	"auth.proto":    "etcd/api/authpb/auth.proto",
	"version.proto": "etcd/api/versionpb/version.proto",
}

// reflect lets callers of the socket ask which services there are, and for
// their messages: grpcurl and its like then need no files. At the network's
// door nobody is told, as in etcd.
func (s *Server) reflect(g *grpc.Server) {
	known := sync.OnceValues(func() (*protoregistry.Files, error) { return services(g) })
	o := reflection.ServerOptions{Services: g, DescriptorResolver: resolver(known)}
	reflectionpb.RegisterServerReflectionServer(g, reflection.NewServerV1(o))
	reflectionalpha.RegisterServerReflectionServer(g, reflection.NewServer(o))
}

// resolver puts the files together when the first caller asks: hardly anybody
// does, and it takes as long as all else in a start.
type resolver func() (*protoregistry.Files, error)

func (known resolver) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	files, err := known()
	if err != nil {
		return nil, fmt.Errorf("describe the services: %w", err)
	}
	return files.FindFileByPath(path)
}

func (known resolver) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	files, err := known()
	if err != nil {
		return nil, fmt.Errorf("describe the services: %w", err)
	}
	return files.FindDescriptorByName(name)
}

// services returns the files that describe a server's services, with all that
// they import.
func services(g *grpc.Server) (*protoregistry.Files, error) {
	all := map[string]*descriptorpb.FileDescriptorProto{}
	for name := range g.GetServiceInfo() {
		described, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		if errors.Is(err, protoregistry.NotFound) {
			continue // it is named, and that is all that is known of it
		}
		if err != nil {
			return nil, err
		}
		if err := collect(all, described.ParentFile().Path()); err != nil {
			return nil, err
		}
	}
	for _, f := range []protoreflect.FileDescriptor{
		reflectionpb.File_grpc_reflection_v1_reflection_proto, reflectionalpha.File_grpc_reflection_v1alpha_reflection_proto,
	} {
		if err := collect(all, f.Path()); err != nil {
			return nil, err
		}
	}
	set := new(descriptorpb.FileDescriptorSet)
	for _, f := range all {
		set.File = append(set.File, f)
	}
	return protodesc.NewFiles(set)
}

// collect adds a file and what it imports, under the names of the imports.
func collect(all map[string]*descriptorpb.FileDescriptorProto, path string) error {
	compiled := path
	for from, to := range etcdFiles {
		if path == from || path == to {
			compiled, path = from, to
		}
	}
	if all[path] != nil {
		return nil
	}
	found, err := protoregistry.GlobalFiles.FindFileByPath(compiled)
	if errors.Is(err, protoregistry.NotFound) {
		return fmt.Errorf("%s is not in the program: %w", path, err)
	}
	if err != nil {
		return err
	}
	f := protodesc.ToFileDescriptorProto(found)
	f.Name = &path
	all[path] = f
	for i, imported := range f.Dependency {
		if to, etcds := etcdFiles[imported]; etcds {
			f.Dependency[i] = to
		}
		if err := collect(all, imported); err != nil {
			return err
		}
	}
	return nil
}
