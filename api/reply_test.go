// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"math"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/state"
)

func testCodec() codec {
	return codec{sent: counter("sent", ""), received: counter("received", "")}
}

// decoded sends a reply through the codec and reads it as a client would.
func decoded[M proto.Message](t *testing.T, reply any, into M) M {
	t.Helper()
	if err := proto.Unmarshal(wireForm(t, reply), into); err != nil {
		t.Fatalf("decode %T: %v", into, err)
	}
	return into
}

func wireForm(t *testing.T, reply any) []byte {
	t.Helper()
	b, err := testCodec().Marshal(reply)
	if err != nil {
		t.Fatal(err)
	}
	return b.Materialize()
}

func count(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func equal(t *testing.T, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func record(t *testing.T, kv *mvccpb.KeyValue) []byte {
	t.Helper()
	b, err := proto.Marshal(kv)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func testHeader() header {
	return newHeader(math.MaxUint64, math.MaxUint64-1, func() uint64 { return math.MaxUint64 - 2 })
}

func TestHeaderOfTheGreatestNumbersFits(t *testing.T) {
	h := testHeader()
	reply := h.reply(state.Reply{Revision: math.MaxInt64})
	if len(reply) > maxHeader {
		t.Fatalf("header takes %d bytes, more than %d", len(reply), maxHeader)
	}
	equal(t, decoded(t, reply, new(pb.PutResponse)), &pb.PutResponse{Header: h.message(math.MaxInt64)})
}

func TestHeaderLeavesZerosOut(t *testing.T) {
	h := newHeader(1, 2, func() uint64 { return 0 })
	got := h.reply(state.Reply{})
	want, err := proto.Marshal(&pb.PutResponse{Header: &pb.ResponseHeader{ClusterId: 1, MemberId: 2}})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("got %x, want %x", got, want)
	}
}

func TestSplicedPutHasItsPreviousRecord(t *testing.T) {
	h := testHeader()
	previous := &mvccpb.KeyValue{Key: []byte("k"), Value: []byte("v"), ModRevision: 7, CreateRevision: 3, Version: 2, Lease: 9}
	payload := append([]byte{2<<3 | 2, byte(len(record(t, previous)))}, record(t, previous)...)
	got := decoded(t, h.reply(state.Reply{Revision: 8, Payload: payload}), new(pb.PutResponse))
	equal(t, got, &pb.PutResponse{Header: h.message(8), PrevKv: previous})
}

func TestSplicedRange(t *testing.T) {
	h := testHeader()
	big := &mvccpb.KeyValue{Key: []byte("big"), Value: bytes.Repeat([]byte("x"), 3<<20), ModRevision: 5, CreateRevision: 5, Version: 1}
	small := &mvccpb.KeyValue{Key: []byte("small"), ModRevision: math.MaxInt64, CreateRevision: 1, Version: 1}
	cases := []struct {
		name   string
		result kv.Result
		want   *pb.RangeResponse
	}{
		{"nothing", kv.Result{Revision: 1}, &pb.RangeResponse{}},
		{"count only", kv.Result{Revision: 1, Count: 300}, &pb.RangeResponse{Count: 300}},
		{"cut", kv.Result{Revision: 9, Count: 2, More: true, Records: []kv.Record{record(t, small)}},
			&pb.RangeResponse{Kvs: []*mvccpb.KeyValue{small}, More: true, Count: 2}},
		{"beyond the pools", kv.Result{Revision: 9, Count: 3, Records: []kv.Record{record(t, big), record(t, small), record(t, big)}},
			&pb.RangeResponse{Kvs: []*mvccpb.KeyValue{big, small, big}, Count: 3}},
	}
	for _, c := range cases {
		framed := c.result
		for _, r := range c.result.Records { // as a store hands them over: in pieces of any size
			frame := append(protowire.AppendTag(nil, 2, protowire.BytesType), protowire.AppendBytes(nil, r)...)
			if n := len(framed.Frames); n == 1 {
				framed.Frames[0] = append(framed.Frames[0], frame...)
			} else {
				framed.Frames = append(framed.Frames, frame)
			}
		}
		t.Run(c.name, func(t *testing.T) {
			for _, form := range []func(kv.Result) any{
				func(r kv.Result) any { return h.records(r, nil) },
				func(r kv.Result) any { return h.chunk(r, true) },
				func(r kv.Result) any { return h.chunk(r, false) },
			} {
				if plain, spliced := wireForm(t, form(c.result)), wireForm(t, form(framed)); !bytes.Equal(plain, spliced) {
					t.Errorf("records and frames differ on the wire: %d and %d bytes", len(plain), len(spliced))
				}
			}
			c.want.Header = h.message(c.result.Revision)
			equal(t, decoded(t, h.records(c.result, nil), new(pb.RangeResponse)), c.want)

			last := decoded(t, h.chunk(c.result, true), new(pb.RangeStreamResponse))
			equal(t, last, &pb.RangeStreamResponse{RangeResponse: c.want})
			earlier := decoded(t, h.chunk(c.result, false), new(pb.RangeStreamResponse))
			equal(t, earlier, &pb.RangeStreamResponse{RangeResponse: &pb.RangeResponse{Kvs: c.want.Kvs}})
		})
	}
}

func TestCodecRefusesWhatIsNoMessage(t *testing.T) {
	c := testCodec()
	if _, err := c.Marshal(42); err == nil {
		t.Error("a number was encoded")
	}
	if err := c.Unmarshal(mem.BufferSlice{}, new(int)); err == nil {
		t.Error("a number was decoded")
	}
	if err := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer{0xff}}, new(pb.PutRequest)); err == nil {
		t.Error("half a tag was decoded")
	}
}

func TestCodecCountsBytes(t *testing.T) {
	c := testCodec()
	b, err := c.Marshal(&pb.PutRequest{Key: []byte("abc")})
	if err != nil {
		t.Fatal(err)
	}
	var r pb.PutRequest
	if err := c.Unmarshal(b, &r); err != nil || string(r.Key) != "abc" {
		t.Fatalf("got %q, %v", r.Key, err)
	}
	if sent, received := count(t, c.sent), count(t, c.received); sent != 5 || received != 5 {
		t.Fatalf("counted %v sent, %v received, want 5 and 5", sent, received)
	}
}
