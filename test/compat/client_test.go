// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"errors"
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	etcdclient "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// client returns etcd's own client of the server.
func (s *side) client() *etcdclient.Client {
	s.Helper()
	c, err := etcdclient.New(etcdclient.Config{
		Endpoints: []string{s.target()}, TLS: s.tls, Username: s.user, Password: s.user, DialTimeout: patience, Logger: zap.NewNop(),
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.Close() })
	return c
}

// told writes down what etcd's client made of an answer.
func (s *side) told(step string, reply proto.Message, err error) {
	var known rpctypes.EtcdError
	switch {
	case err != nil:
		s.note(step, fmt.Sprintf("known %t: %v", errors.As(err, &known), err))
	case reply != nil:
		s.note(step, outcome(nil, reply, nil))
	default:
		s.note(step, "done")
	}
}

func TestClient(t *testing.T) { alike(t, both, clientRequests) }

func clientRequests(s *side) {
	c := s.client()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	for i, op := range []etcdclient.Op{
		etcdclient.OpPut("a", "1"), etcdclient.OpPut("a", "2", etcdclient.WithPrevKV()), etcdclient.OpPut("b", "1"),
		etcdclient.OpPut("a", "", etcdclient.WithIgnoreValue()), etcdclient.OpPut("none", "", etcdclient.WithIgnoreValue()),
		etcdclient.OpPut("a", "", etcdclient.WithLease(99)), etcdclient.OpPut("", "x"),
		etcdclient.OpGet("a"), etcdclient.OpGet("", etcdclient.WithPrefix()), etcdclient.OpGet("b", etcdclient.WithFromKey(), etcdclient.WithLimit(1)),
		etcdclient.OpGet("a", etcdclient.WithRev(s.base+99)), etcdclient.OpGet("", etcdclient.WithLastRev()...), etcdclient.OpGet("", etcdclient.WithFirstCreate()...),
		etcdclient.OpTxn([]etcdclient.Cmp{etcdclient.Compare(etcdclient.Value("a"), "=", "2"), etcdclient.Compare(etcdclient.Version("a").WithPrefix(), ">", 0)},
			[]etcdclient.Op{etcdclient.OpDelete("a", etcdclient.WithPrevKV()), etcdclient.OpTxn(nil, []etcdclient.Op{etcdclient.OpGet("b")}, nil)}, nil),
		etcdclient.OpTxn(nil, []etcdclient.Op{etcdclient.OpPut("a", "1"), etcdclient.OpPut("a", "2")}, nil),
		etcdclient.OpDelete("", etcdclient.WithPrefix(), etcdclient.WithPrevKV()), etcdclient.OpDelete("none"),
	} {
		r, err := c.Do(ctx, op)
		s.told(fmt.Sprint("op ", i), answerOf(r), err)
	}
	merged, err := streamed(c.GetStream(ctx, "a", etcdclient.WithRev(s.base+3), etcdclient.WithFromKey()))
	s.told("get as a stream", merged, err)
	for _, revision := range []int64{4, 4, 99} {
		r, err := c.Compact(ctx, s.base+revision, etcdclient.WithCompactPhysical())
		s.told("compact", (*pb.CompactionResponse)(r), err)
	}
	_, err = streamed(c.GetStream(ctx, "a", etcdclient.WithRev(s.base+3)))
	s.told("a stream of compacted history", nil, err)
}

func answerOf(r etcdclient.OpResponse) proto.Message {
	switch {
	case r.Put() != nil:
		return (*pb.PutResponse)(r.Put())
	case r.Get() != nil:
		return (*pb.RangeResponse)(r.Get())
	case r.Del() != nil:
		return (*pb.DeleteRangeResponse)(r.Del())
	}
	return (*pb.TxnResponse)(r.Txn())
}

func streamed(chunks etcdclient.GetStreamChan, err error) (proto.Message, error) {
	if err != nil {
		return nil, err
	}
	r, err := etcdclient.GetStreamToGetResponse(chunks)
	return (*pb.RangeResponse)(r), err
}

func TestClientWatches(t *testing.T) { alike(t, both, clientWatches) }

func clientWatches(s *side) {
	c := s.client()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	s.ask(put("a", "1"), put("a", "2"), put("b", "1"), &pb.CompactionRequest{Revision: 3, Physical: true})
	live := c.Watch(ctx, "a", etcdclient.WithPrefix(), etcdclient.WithCreatedNotify(), etcdclient.WithPrevKV())
	past := c.Watch(ctx, "a", etcdclient.WithRev(s.base+3), etcdclient.WithFromKey(), etcdclient.WithFragment())
	s.seen("created", <-live)
	s.seen("history", <-past)
	for _, r := range []proto.Message{put("a", "3"), del("a", "c")} {
		s.ask(r)
		s.seen("live", <-live)
		s.seen("past", <-past)
	}
	if err := c.RequestProgress(ctx); err != nil {
		s.Fatal(err)
	}
	s.seen("progress", <-live)
	s.seen("progress", <-past)
	lost := c.Watch(ctx, "a", etcdclient.WithRev(s.base+1))
	s.seen("lost", <-lost)
	_, open := <-lost
	s.note("lost is over", fmt.Sprint(!open))
	s.seen("refused", <-c.Watch(ctx, "b", etcdclient.WithRange("a")))
}

// seen writes down what a channel of the client gave.
func (s *side) seen(step string, r etcdclient.WatchResponse) {
	said := fmt.Sprintf("revision %d canceled %t created %t progress %t compacted %d: %v",
		r.Header.GetRevision(), r.Canceled, r.Created, r.IsProgressNotify(), r.CompactRevision, r.Err())
	for _, e := range r.Events {
		said += fmt.Sprintf("; %v create %t modify %t %v before %v", e.Type, e.IsCreate(), e.IsModify(), e.Kv, e.PrevKv)
	}
	s.note(step, said)
}

// What is built on the API works on it: locks and elections, over leases with
// the same names on both sides.
func TestClientConcurrency(t *testing.T) { alike(t, both, clientConcurrency) }

func clientConcurrency(s *side) {
	c := s.client()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	var sessions []*concurrency.Session
	for id := etcdclient.LeaseID(7); id <= 8; id++ {
		s.ask(&pb.LeaseGrantRequest{ID: int64(id), TTL: 1000})
		session, err := concurrency.NewSession(c, concurrency.WithLease(id))
		if err != nil {
			s.Fatal(err)
		}
		sessions = append(sessions, session)
	}
	first, second := concurrency.NewMutex(sessions[0], "lock"), concurrency.NewMutex(sessions[1], "lock")
	s.told("lock", nil, first.Lock(ctx))
	s.told("try", nil, second.TryLock(ctx))
	s.told("unlock", nil, first.Unlock(ctx))
	s.told("try again", nil, second.TryLock(ctx))
	election := concurrency.NewElection(sessions[0], "leader")
	_, err := election.Leader(ctx)
	s.told("nobody leads", nil, err)
	s.told("campaign", nil, election.Campaign(ctx, "one"))
	s.told("proclaim", nil, election.Proclaim(ctx, "two"))
	leader, err := concurrency.NewElection(sessions[1], "leader").Leader(ctx)
	s.told("leader", (*pb.RangeResponse)(leader), err)
	s.told("resign", nil, election.Resign(ctx))
	r, err := concurrency.NewSTM(c, func(stm concurrency.STM) error {
		stm.Put("sum", stm.Get("sum")+"x")
		return nil
	})
	s.told("stm", (*pb.TxnResponse)(r), err)
	s.ask(everything(), &pb.LeaseTimeToLiveRequest{ID: 8, Keys: true})
}
