// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// wire is a message already in wire form. The codec takes it over: once it has
// been handed to grpc its bytes must not change.
type wire []byte

// parts are a message already in wire form, in one or more pieces of memory.
// What comes from a pool returns to it when grpc has sent it.
type parts mem.BufferSlice

// codec is protobuf, but for messages that are in wire form already. It is
// given to our servers only, never registered: clients in this process keep
// grpc's own.
type codec struct {
	sent, received prometheus.Counter
}

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	var out mem.BufferSlice
	switch v := v.(type) {
	case wire:
		out = mem.BufferSlice{mem.SliceBuffer(v)}
	case parts:
		out = mem.BufferSlice(v)
	case proto.Message:
		b, err := proto.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("encode %T: %w", v, err)
		}
		out = mem.BufferSlice{mem.SliceBuffer(b)}
	default:
		return nil, fmt.Errorf("api: cannot encode a %T", v)
	}
	c.sent.Add(float64(out.Len()))
	return out, nil
}

// received is a message that is told how many bytes it came in.
type received interface{ from(bytes int) proto.Message }

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(proto.Message)
	if r, sized := v.(received); sized {
		m, ok = r.from(data.Len()), true
	}
	if !ok {
		return fmt.Errorf("api: cannot decode a %T", v)
	}
	c.received.Add(float64(data.Len()))
	b := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	return proto.Unmarshal(b.ReadOnlyData(), m)
}

// Name is the content subtype that clients ask for.
func (codec) Name() string { return "proto" }
