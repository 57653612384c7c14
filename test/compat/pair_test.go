// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/api/recipe"
)

// pair is both sides in step: etcd first, then cleat. Each is asked the same,
// at once, and the next only when both have answered and have told of the
// change to who watches everything.
type pair struct {
	sides    [2]*side
	watchers [2]pb.Watch_WatchClient
	hangUp   context.CancelFunc   // ends the watchers
	tokens   map[string][2]string // by user, the last that were granted

	actor               string // whose token requests carry; empty: the certificate's alice
	revision, compacted int64  // of etcd
	watched             int64  // the revision up to which both told of changes
	enabled             bool   // users count
	leaders             []*recipe.LeaderKey
	last                proto.Message // what was asked last

	requests, refused, guarded, contended int
}

// answer is what one side said.
type answer struct {
	reply proto.Message
	err   error
}

func (a answer) String() string {
	if a.err != nil {
		return refusal(a.err)
	}
	return text(a.reply)
}

func newPair(t testing.TB, want, got *side) *pair {
	t.Helper()
	p := &pair{sides: [2]*side{want, got}, tokens: make(map[string][2]string), revision: 1, compacted: 0, watched: 1}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	p.hangUp = cancel
	for i := range p.sides {
		w, _, err := creation(ctx, p.sides[i], &pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, PrevKv: true})
		if err != nil {
			t.Fatal(err)
		}
		p.watchers[i] = w
	}
	return p
}

// step sends one request to both at once, and returns etcd's reply.
func (p *pair) step(t testing.TB, r proto.Message) proto.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	want, got := p.later(ctx, r)()
	return p.settle(t, r, want, got)
}

// later sends a request to both sides, and returns how to wait for the answers.
func (p *pair) later(ctx context.Context, r proto.Message) (finish func() (want, got answer)) {
	p.requests++
	p.last = r
	if p.enabled {
		p.guarded++
	}
	var ended [2]chan answer
	for i, s := range p.sides {
		ended[i] = make(chan answer, 1)
		with := p.bearing(ctx, i)
		go func() {
			reply, err := perform(with, s, r)
			ended[i] <- answer{reply, err}
		}()
	}
	return func() (answer, answer) { return <-ended[0], <-ended[1] }
}

// settle compares two answers and takes note of what they changed.
func (p *pair) settle(t testing.TB, r proto.Message, want, got answer) proto.Message {
	t.Helper()
	p.learn(r, want, got)
	for _, a := range []answer{want, got} {
		if a.err == nil {
			maskMessage(r, a.reply)
		}
	}
	switch {
	case want.err != nil && got.err != nil && refusal(want.err) == refusal(got.err):
	case want.err == nil && got.err == nil && proto.Equal(want.reply, got.reply):
	default:
		t.Errorf("%s by %q\ncleatd: %v\n  etcd: %v", describe(r), p.actor, got, want)
	}
	if want.err != nil {
		p.refused++
		return nil
	}
	p.hear(t)
	return want.reply
}

// learn keeps what later requests need, before it is masked.
func (p *pair) learn(r proto.Message, want, got answer) {
	if want.err != nil || got.err != nil {
		return
	}
	if h, ok := want.reply.(interface{ GetHeader() *pb.ResponseHeader }); ok {
		p.revision = max(p.revision, h.GetHeader().GetRevision())
	}
	switch r := r.(type) {
	case *pb.CompactionRequest:
		p.compacted = r.Revision
	case *pb.AuthEnableRequest:
		p.enabled = true
	case *pb.AuthDisableRequest:
		p.enabled = false
		delete(p.tokens, "root") // which asRoot relies on; the others show what they have
	case *pb.AuthUserChangePasswordRequest:
		if r.Name == "root" {
			delete(p.tokens, "root")
		}
	case *pb.AuthenticateRequest:
		p.tokens[r.Name] = [2]string{want.reply.(*pb.AuthenticateResponse).Token, got.reply.(*pb.AuthenticateResponse).Token}
	case *recipe.CampaignRequest:
		p.leaders = append(p.leaders, want.reply.(*recipe.CampaignResponse).Leader)
		p.leaders = p.leaders[max(0, len(p.leaders)-leases):]
	}
}

// hear waits until who watches everything was told of all that changed, and
// compares what.
func (p *pair) hear(t testing.TB) {
	t.Helper()
	if p.watched >= p.revision {
		return
	}
	late := time.AfterFunc(patience, p.hangUp)
	defer late.Stop()
	var told [2][]*mvccpb.Event
	for i := range p.watchers {
		told[i] = p.listen(t, i, p.watchers[i], p.revision)
	}
	p.watched = p.revision
	sameEvents(t, "who watches everything", told[1], told[0])
}

// listen takes events up to a revision in which there is one.
func (p *pair) listen(t testing.TB, i int, w pb.Watch_WatchClient, to int64) (events []*mvccpb.Event) {
	t.Helper()
	for {
		m, err := w.Recv()
		if err != nil || m.Canceled {
			t.Fatalf("%s: a watcher that waited for revision %d after %s was told %v, %v", p.sides[i].name, to, describe(p.last), m, err)
		}
		events = append(events, m.Events...)
		if n := len(events); n > 0 && events[n-1].Kv.ModRevision >= to {
			return events
		}
	}
}

func sameEvents(t testing.TB, who string, got, want []*mvccpb.Event) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: cleatd told of %d events, etcd of %d\ncleatd: %v\n  etcd: %v", who, len(got), len(want), got, want)
		return
	}
	for i := range got {
		if !proto.Equal(got[i], want[i]) {
			t.Errorf("%s\ncleatd: %s\n  etcd: %s", who, text(got[i]), text(want[i]))
		}
	}
}

func (p *pair) bearing(ctx context.Context, i int) context.Context {
	if token := p.tokens[p.actor][i]; token != "" {
		return metadata.AppendToOutgoingContext(ctx, "token", token)
	}
	return ctx
}

// inPieces is a range that is asked for as a stream.
type inPieces struct{ *pb.RangeRequest }

// perform asks one side in the way that the request needs.
func perform(ctx context.Context, s *side, r proto.Message) (proto.Message, error) {
	switch r := r.(type) {
	case inPieces:
		return pieces(ctx, s, r.RangeRequest)
	case *pb.LeaseKeepAliveRequest:
		return renewal(ctx, s, r)
	case *pb.WatchCreateRequest:
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		_, reply, err := creation(ctx, s, r)
		return reply, err
	case *recipe.LockRequest, *recipe.UnlockRequest, *recipe.CampaignRequest, *recipe.ProclaimRequest, *recipe.LeaderRequest, *recipe.ResignRequest:
		return act(ctx, recipe.NewLockClient(s.conn), recipe.NewElectionClient(s.conn), r)
	}
	return call(ctx, s.conn, r)
}

func renewal(ctx context.Context, s *side, r *pb.LeaseKeepAliveRequest) (proto.Message, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := pb.NewLeaseClient(s.conn).LeaseKeepAlive(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(r); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return stream.Recv()
}

// creation opens a stream and asks for a watcher, and returns the answer too.
func creation(ctx context.Context, s *side, r *pb.WatchCreateRequest) (pb.Watch_WatchClient, *pb.WatchResponse, error) {
	stream, err := pb.NewWatchClient(s.conn).Watch(ctx)
	if err != nil {
		return nil, nil, err
	}
	request := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}
	if err := stream.Send(request); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	reply, err := stream.Recv()
	return stream, reply, err
}

func pieces(ctx context.Context, s *side, r *pb.RangeRequest) (proto.Message, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := pb.NewKVClient(s.conn).RangeStream(ctx, r)
	if err != nil {
		return nil, err
	}
	merged := &pb.RangeResponse{}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return merged, nil
		}
		if err != nil {
			return nil, err
		}
		proto.Merge(merged, m.RangeResponse)
	}
}
