// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// staff makes root and alice, with their names as passwords, who may write a to
// before b, and enables the rules.
func (l *life) staff() {
	l.t.Helper()
	c, ctx := l.client, within(l.t)
	_, e1 := c.UserAdd(ctx, "root", "root")
	_, e2 := c.UserGrantRole(ctx, "root", "root")
	_, e3 := c.UserAdd(ctx, "alice", "alice")
	_, e4 := c.RoleAdd(ctx, "writer")
	_, e5 := c.RoleGrantPermission(ctx, "writer", "a", "b", 2)
	_, e6 := c.UserGrantRole(ctx, "alice", "writer")
	_, e7 := c.AuthEnable(ctx)
	if err := errors.Join(e1, e2, e3, e4, e5, e6, e7); err != nil {
		l.t.Fatal(err)
	}
}

// logIn returns a client that has a password, at the doors of members. Its
// certificate is alice's, whoever logs in.
func (l *life) logIn(name string, members ...*life) *clientv3.Client {
	l.t.Helper()
	var endpoints []string
	for _, m := range members {
		endpoints = append(endpoints, m.d.clientURLs()...)
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, TLS: l.issue(), Username: name, Password: name, DialTimeout: patience, Logger: zap.NewNop(),
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = c.Close() })
	return c
}

// A token that one member gave counts at all, and those that members lost are
// made up for: the client logs in again.
func TestAUserIsKnownAtEveryMember(t *testing.T) {
	members := leaderFirst(t)
	members[1].staff()
	for i, l := range members {
		root := members[1].logIn("root", l)
		if _, err := root.Put(within(t), "b", "1"); err != nil {
			t.Errorf("root at member %d: %v", i, err)
		}
		alice := members[1].logIn("alice", l)
		if _, err := alice.Put(within(t), "a", "1"); err != nil {
			t.Errorf("alice at member %d: %v", i, err)
		}
		if _, err := alice.Put(within(t), "b", "1"); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("alice at member %d, what is not hers: %v", i, err)
		}
	}
	root := members[1].logIn("root", members...)
	answered := map[uint64]bool{}
	for ctx := within(t); len(answered) < len(members); {
		r, err := root.Get(ctx, "b")
		if err != nil {
			t.Fatal(err)
		}
		answered[r.Header.MemberId] = true
	}
	for _, l := range members { // as after a restart, or a checkpoint
		l.d.machine.Tokens().Clear()
	}
	for range 2 * len(members) {
		if _, err := root.Put(within(t), "b", "2"); err != nil {
			t.Errorf("after its tokens were lost: %v", err)
		}
	}
	if err := members[0].end(); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Get(within(t), "b"); err != nil {
		t.Errorf("without one of the members: %v", err)
	}
}

// Users, roles and whether they count outlive a restart.
func TestUsersOutliveARestart(t *testing.T) {
	o := options(t, shortDir(t))
	o.Config.BcryptCost = 4
	l := begin(t, o)
	l.staff()
	if err := l.end(); err != nil {
		t.Fatal(err)
	}
	l = begin(t, o)
	if _, err := l.logIn("root", l).Put(within(t), "b", "1"); err != nil {
		t.Error(err)
	}
	status, err := l.client.AuthStatus(within(t))
	if err != nil || !(*pb.AuthStatusResponse)(status).Enabled {
		t.Errorf("%v, %v", status, err)
	}
	if _, err := l.client.Put(within(t), "c", "1"); err != nil {
		t.Errorf("the administrator at the socket: %v", err)
	}
	if err := l.end(); err != nil {
		t.Error(err)
	}
}

func TestATokenSettingThatCannotBeUsedIsToldAtTheStart(t *testing.T) {
	o := options(t, shortDir(t))
	o.Config.AuthToken = "jwt,sign-method=HS256,priv-key=" + filepath.Join(o.Config.DataDir, "none")
	if _, err := Open(t.Context(), o); !errors.Is(err, ErrConfig) || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "auth-token") {
		t.Errorf("opened with %v", err)
	}
}
