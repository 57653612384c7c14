// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// longest is the value that a transcript still shows whole.
const longest = 200

// describe writes a request down.
func describe(r proto.Message) string {
	return fmt.Sprintf("%s{%s}", r.ProtoReflect().Descriptor().Name(), text(r))
}

// outcome writes down what a request came to.
func outcome(request, reply proto.Message, err error) string {
	if err != nil {
		return refusal(err)
	}
	reply = proto.Clone(reply)
	maskMessage(request, reply)
	return text(reply)
}

func refusal(err error) string {
	told := status.Convert(err)
	return fmt.Sprintf("%v: %s", told.Code(), told.Message())
}

// text is on one line. The format varies between binaries, on purpose, but
// both sides are written by this one.
func text(m proto.Message) string {
	m = proto.Clone(m)
	walk(m.ProtoReflect(), func(m protoreflect.Message) { shorten(m) })
	return prototext.MarshalOptions{}.Format(m)
}

// shorten stands the sums of long values in for them.
func shorten(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Kind() == protoreflect.BytesKind && !f.IsList() && len(v.Bytes()) > longest {
			m.Set(f, protoreflect.ValueOfBytes(fmt.Appendf(nil, "%d bytes %x", len(v.Bytes()), sha256.Sum256(v.Bytes()))))
		}
		return true
	})
}

// maskMessage takes out what two servers cannot answer alike. That there is
// something must still be alike, so it becomes 1 and not nothing.
func maskMessage(request, reply proto.Message) {
	walk(reply.ProtoReflect(), func(m protoreflect.Message) {
		if h, ok := m.Interface().(*pb.ResponseHeader); ok {
			h.ClusterId, h.MemberId, h.RaftTerm = min(h.ClusterId, 1), min(h.MemberId, 1), min(h.RaftTerm, 1)
		}
	})
	switch reply := reply.(type) {
	case *pb.LeaseGrantResponse:
		if r, ok := request.(*pb.LeaseGrantRequest); ok && r.ID == 0 && reply.ID > 0 {
			reply.ID = 1
		}
	case *pb.AuthenticateResponse:
		if reply.Token != "" {
			reply.Token = "a token"
		}
	case *pb.LeaseTimeToLiveResponse:
		// It runs while the test does.
		if reply.TTL >= 0 && reply.TTL > reply.GrantedTTL-int64(patience.Seconds()) && reply.TTL <= reply.GrantedTTL {
			reply.TTL = reply.GrantedTTL
		}
		slices.SortFunc(reply.Keys, bytes.Compare) // etcd keeps them in no order
	case *pb.LeaseLeasesResponse:
		slices.SortFunc(reply.Leases, func(a, b *pb.LeaseStatus) int { return cmp.Compare(a.ID, b.ID) })
	}
}

// walk visits a message and all below it.
func walk(m protoreflect.Message, visit func(protoreflect.Message)) {
	visit(m)
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil || f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				walk(v.List().Get(i).Message(), visit)
			}
		default:
			walk(v.Message(), visit)
		}
		return true
	})
}
