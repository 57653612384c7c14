// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/api/recipe"
)

// alone is a member of which the others are gone, and what it is asked
// meanwhile: all at once, since much of it waits for them in vain.
type alone struct {
	*side
	asked []question
}

// question is a step that is under way.
type question struct {
	step, excuse string
	answer       chan string
}

// TestNoQuorum asks one of three whose others stand still, be it the leader or
// not, and all three when they go on.
func TestNoQuorum(t *testing.T) {
	t.Parallel()
	w := startTwins(t)
	for _, at := range places {
		t.Run("left is a "+at.name, func(t *testing.T) {
			var left [2]*alone
			var watches [2]map[string]*watching
			for i, c := range []*cluster{w.want, w.got} {
				leader := c.leader()
				left[i] = &alone{side: c.visit(t, at.pick(leader), at.door)}
				left[i].ask(put("a", "1"), &pb.LeaseGrantRequest{ID: 7, TTL: 1000})
				watches[i] = left[i].openWatches()
				for _, m := range c.members {
					if m != c.members[at.pick(leader)] {
						c.pause(m)
					}
				}
			}
			for i := range left {
				left[i].leaderless()
				left[i].inquire()
			}
			for i, c := range []*cluster{w.want, w.got} {
				left[i].collect()
				left[i].endOf(watches[i]["has leader"])
				for _, m := range c.members {
					if m.away {
						c.resume(m)
					}
				}
				c.leader()
				left[i].ask(put("a", "2"), everything())
				left[i].renew(7)
				watches[i]["plain"].until(0, 3)
				watches[i]["plain"].leave()
				left[i].transcript = append(left[i].transcript, c.clear(t)...)
			}
			compare(t, left[1].transcript, left[0].transcript)
		})
	}
}

// openWatches opens one stream that insists on a leader and one that does not.
func (a *alone) openWatches() map[string]*watching {
	a.Helper()
	all := map[string]*watching{}
	for _, name := range []string{"has leader", "plain"} {
		ctx, cancel := context.WithTimeout(a.Context(), 2*patience)
		a.Cleanup(cancel)
		if name == "has leader" {
			ctx = insisting(ctx)
		}
		stream, err := pb.NewWatchClient(a.conn).Watch(ctx)
		if err != nil {
			a.Fatal(err)
		}
		all[name] = &watching{side: a.side, stream: stream, received: make(map[int64][]string), reached: make(map[int64]int64)}
		all[name].on("a", "", 0)
	}
	return all
}

func insisting(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
}

// endOf writes down how a stream was ended by the server.
func (a *alone) endOf(w *watching) {
	a.Helper()
	for {
		m, err := w.stream.Recv()
		if err != nil {
			a.note("the end of a watch that insists on a leader", refusal(err))
			return
		}
		a.note("a watch that insists on a leader", outcome(nil, m, nil))
	}
}

// leaderless waits until the member knows of no leader.
func (a *alone) leaderless() {
	a.Helper()
	eventually(a, a.name+" has no leader", func() error {
		r, err := pb.NewMaintenanceClient(a.conn).Status(a.Context(), &pb.StatusRequest{})
		if err == nil && r.Leader != 0 {
			err = fmt.Errorf("%x leads", r.Leader)
		}
		if err == nil {
			a.note("errors of the status", fmt.Sprint(r.Errors))
		}
		return err
	})
}

// begin asks something in the background.
func (a *alone) begin(step, excuse string, act func(ctx context.Context) (proto.Message, error)) {
	a.beginWithin(patience, step, excuse, act)
}

func (a *alone) beginWithin(limit time.Duration, step, excuse string, act func(ctx context.Context) (proto.Message, error)) {
	q := question{step, excuse, make(chan string, 1)}
	a.asked = append(a.asked, q)
	ctx, cancel := context.WithTimeout(a.Context(), limit)
	go func() {
		defer cancel()
		reply, err := act(ctx)
		said := outcome(nil, reply, err)
		if ctx.Err() != nil || limit < patience && status.Code(err) == codes.DeadlineExceeded {
			said = "nothing in the caller's time"
		}
		q.answer <- said
	}()
}

// collect writes down the answers in the order of the questions.
func (a *alone) collect() {
	for _, q := range a.asked {
		a.note(q.step, <-q.answer)
		a.transcript[len(a.transcript)-1].excuse = q.excuse
	}
	a.asked = nil
}

// leaderlessWrites is the name of an exception.
const leaderlessWrites = "a write without a leader"

// inquire asks for everything: first what both answer alike.
func (a *alone) inquire() {
	serializable := get("a", "")
	serializable.Serializable = true
	url := []string{"https://127.0.0.1:1"}
	asked := map[string][]proto.Message{"": {
		serializable, get("a", ""), put("", ""), then(op(serializable)), then(opGet("a", "")), inPieces{get("a", "")},
		&pb.LeaseTimeToLiveRequest{ID: 7}, &pb.LeaseTimeToLiveRequest{ID: 9}, &pb.LeaseLeasesRequest{}, &pb.LeaseKeepAliveRequest{ID: 7}, &pb.LeaseKeepAliveRequest{ID: 9},
		&pb.MemberListRequest{Linearizable: true}, &pb.MemberPromoteRequest{ID: stranger}, &pb.MoveLeaderRequest{TargetID: stranger},
		&pb.DefragmentRequest{}, &pb.HashKVRequest{}, &pb.AuthenticateRequest{Name: "root", Password: "x"},
		&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: a.base + 1},
	}, leaderlessWrites: {
		put("a", "x"), del("a", ""), then(opPut("a", "x")), &pb.CompactionRequest{Revision: 1}, &pb.LeaseGrantRequest{ID: 8, TTL: 100}, &pb.LeaseRevokeRequest{ID: 7},
		&pb.AlarmRequest{}, &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE},
		&pb.AuthStatusRequest{}, &pb.AuthUserListRequest{}, &pb.AuthRoleAddRequest{Name: "r"}, &pb.DowngradeRequest{Action: pb.DowngradeRequest_VALIDATE, Version: "3.5"},
		&recipe.LockRequest{Name: []byte("l"), Lease: 7}, &recipe.LeaderRequest{Name: []byte("e")}, &recipe.UnlockRequest{Key: []byte("l/7")}, &recipe.CampaignRequest{Name: []byte("e"), Lease: 7},
	}}
	for _, excuse := range sortedKeys(asked) {
		for _, r := range asked[excuse] {
			a.begin(describe(r), excuse, func(ctx context.Context) (proto.Message, error) { return perform(ctx, a.side, r) })
		}
	}
	// With these etcd waits for as long as its caller. Whether it does so with an
	// addition, or refuses it, depends on whether it misses the others yet.
	for _, r := range []proto.Message{&pb.MemberRemoveRequest{ID: stranger}, &pb.MemberUpdateRequest{ID: stranger, PeerURLs: url}, put("a", "x"), get("a", ""), &pb.LeaseKeepAliveRequest{ID: 7}} {
		a.beginWithin(time.Second, "in a second: "+describe(r), "", func(ctx context.Context) (proto.Message, error) { return perform(ctx, a.side, r) })
	}
	for _, r := range []proto.Message{serializable, put("a", "x"), &pb.MemberListRequest{}, &pb.LeaseKeepAliveRequest{ID: 7}, &pb.WatchCreateRequest{Key: []byte("a")}} {
		a.begin("insisting on a leader: "+describe(r), "", func(ctx context.Context) (proto.Message, error) { return perform(insisting(ctx), a.side, r) })
	}
	a.begin("serializable list of members", "", func(ctx context.Context) (proto.Message, error) {
		_, err := call(ctx, a.conn, &pb.MemberListRequest{})
		return &pb.MemberListResponse{}, err
	})
	for _, path := range []string{
		"/health", "/health?serializable=true", "/livez", "/livez?verbose", "/readyz", "/readyz?verbose", "/readyz/linearizable_read", "/readyz/serializable_read", "/readyz/non_learner", "/readyz?exclude=linearizable_read",
	} {
		a.beginPage("GET", path, "")
	}
	a.beginPage("POST", "/v3/kv/range", `{"key":"YQ=="}`)
}

// beginPage fetches in the background.
func (a *alone) beginPage(method, path, body string) {
	q := question{step: method + " " + path, answer: make(chan string, 1)}
	a.asked = append(a.asked, q)
	go func() {
		response, err := a.attempt(method, path, body)
		if err != nil {
			q.answer <- err.Error()
			return
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		q.answer <- fmt.Sprintf("%s %s %v", heading(response), canonical(string(text)), err)
	}()
}
