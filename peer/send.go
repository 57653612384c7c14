// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// pieceBytes is the largest piece of a state in one message.
const pieceBytes = 256 << 10

// Send passes a state to a member's raft, over a connection of its own: calls
// would have to wait behind it.
func (d *Door) Send(ctx context.Context, member uint64, address string, state io.WriterTo) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	free := context.AfterFunc(d.life, cancel)
	defer free()
	conn, err := d.connect(new(client), target{member, address})
	if err != nil {
		return fmt.Errorf("peer: %w", err)
	}
	defer conn.Close()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, sendMethod)
	if err != nil {
		return fmt.Errorf("peer: send a state: %s", status.Convert(err).Message())
	}
	_, err = state.WriteTo(sender{stream})
	if err != nil && err != io.EOF { // io.EOF: the other side has ended the stream, and says why
		return fmt.Errorf("peer: send a state: %w", err)
	}
	if err == nil {
		err = stream.CloseSend()
	}
	if said := stream.RecvMsg(new(wrapperspb.BytesValue)); said != nil {
		return fmt.Errorf("peer: send a state: %s", status.Convert(said).Message())
	}
	return err
}

// sender writes to a stream, in pieces.
type sender struct{ stream grpc.ClientStream }

func (s sender) Write(b []byte) (int, error) {
	sent := 0
	for sent < len(b) {
		piece := b[sent:min(len(b), sent+pieceBytes)]
		if err := s.stream.SendMsg(wrapperspb.Bytes(piece)); err != nil { // encoded when it returns
			return sent, err
		}
		sent += len(piece)
	}
	return sent, nil
}

func receiveState(to any, stream grpc.ServerStream) error {
	from, err := MemberOf(stream.Context())
	if err != nil {
		return err
	}
	if err := to.(Services).Receive(stream.Context(), from, &receiver{stream: stream}); err != nil {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	return stream.SendMsg(new(wrapperspb.BytesValue))
}

// receiver reads from a stream.
type receiver struct {
	stream grpc.ServerStream
	piece  []byte // what is left of it
}

func (r *receiver) Read(b []byte) (int, error) {
	for len(r.piece) == 0 {
		message := new(wrapperspb.BytesValue)
		if err := r.stream.RecvMsg(message); err != nil {
			return 0, err // io.EOF at the end
		}
		r.piece = message.Value
	}
	n := copy(b, r.piece)
	r.piece = r.piece[n:]
	return n, nil
}
