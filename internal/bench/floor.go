// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	grpccredentials "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// floorVariable in the environment makes this program the floor.
const floorVariable = "CLEAT_BENCH_FLOOR"

// frame is an answer that is encoded already.
type frame []byte

// frames is grpc's own codec, which passes a frame as it is.
type frames struct{ encoding.CodecV2 }

func (c frames) Marshal(v any) (mem.BufferSlice, error) {
	if f, encoded := v.(frame); encoded {
		return mem.BufferSlice{mem.SliceBuffer(f)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// answers are what the floor says: nothing to a put, one key to a get, the
// keys of the range measure to a range.
type answers struct{ put, get, keys frame }

// serveFloor decodes each request and sends an answer made beforehand, until
// it is killed.
func serveFloor(args []string) error {
	if len(args) != 4 {
		return errors.New("the floor wants ADDRESS CA CERTIFICATE KEY")
	}
	config, err := credentials{authority: args[1], certificate: args[2], key: args[3]}.load()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	codec := encoding.GetCodecV2("proto")
	said, err := makeAnswers(codec)
	if err != nil {
		return fmt.Errorf("encode the answers: %w", err)
	}
	s := grpc.NewServer(grpc.Creds(grpccredentials.NewTLS(config)), grpc.ForceServerCodecV2(frames{codec}))
	s.RegisterService(said.service(), nil)
	return s.Serve(l)
}

func makeAnswers(codec encoding.CodecV2) (answers, error) {
	header := &pb.ResponseHeader{ClusterId: 1, MemberId: 1, Revision: 2, RaftTerm: 2}
	var kvs []*mvccpb.KeyValue
	for i := range rangeKeys {
		kvs = append(kvs, &mvccpb.KeyValue{
			Key: []byte(rangeKey(i)), Value: []byte(value()), CreateRevision: 2, ModRevision: 2, Version: 1,
		})
	}
	var failed error
	encode := func(v any) frame {
		data, err := codec.Marshal(v)
		failed = errors.Join(failed, err)
		return data.Materialize()
	}
	a := answers{
		put:  encode(&pb.PutResponse{Header: header}),
		get:  encode(&pb.RangeResponse{Header: header, Kvs: kvs[:1], Count: 1}),
		keys: encode(&pb.RangeResponse{Header: header, Kvs: kvs, Count: rangeKeys}),
	}
	return a, failed
}

// service is KV with two methods, written out because the generated one would
// encode what it answers.
func (a answers) service() *grpc.ServiceDesc {
	put := func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		return a.put, decode(new(pb.PutRequest))
	}
	get := func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		request := new(pb.RangeRequest)
		if err := decode(request); err != nil {
			return nil, err
		}
		if len(request.RangeEnd) > 0 {
			return a.keys, nil
		}
		return a.get, nil
	}
	return &grpc.ServiceDesc{
		ServiceName: "etcdserverpb.KV",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Put", Handler: put}, {MethodName: "Range", Handler: get}},
	}
}
