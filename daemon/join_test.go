// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cleatd/cleat/admin"
)

// advertised are the options of a member that others can reach.
func advertised(t *testing.T, name string) Options {
	t.Helper()
	o := options(t, shortDir(t))
	o.Config.Name, o.Config.Advertise, o.Config.ListenPeer, o.Config.ListenCA = name, "127.0.0.1", "127.0.0.1:0", "127.0.0.1:0"
	o.Config.ElectionTimeout = 750 * time.Millisecond
	return o
}

// administer returns the administrator's calls to a member.
func (l *life) administer() admin.AdminClient {
	l.t.Helper()
	return admin.NewAdminClient(l.connection())
}

// connection is a plain one to the member's socket.
func (l *life) connection() *grpc.ClientConn {
	l.t.Helper()
	conn, err := grpc.NewClient("unix://"+l.d.config().Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func (l *life) invite(r *admin.InviteRequest) *admin.InviteResponse {
	l.t.Helper()
	invited, err := l.administer().Invite(within(l.t), r)
	if err != nil {
		l.t.Fatal(err)
	}
	return invited
}

// join has the member join by another's invitation, and waits until it is its
// new self.
func (l *life) join(by *admin.InviteResponse) uint64 {
	l.t.Helper()
	calls := l.administer()
	joined, err := calls.Join(within(l.t), &admin.JoinRequest{Token: by.Token, Address: by.Address})
	if err != nil {
		l.t.Fatal(err)
	}
	l.reports(func(s *admin.StatusResponse) error {
		if s.MemberId != joined.MemberId || s.Raft.Leader == 0 {
			return fmt.Errorf("member %x follows %x", s.MemberId, s.Raft.Leader)
		}
		return nil
	})
	return joined.MemberId
}

// await asks for the member's status until it fits.
func (l *life) reports(fits func(*admin.StatusResponse) error) {
	l.t.Helper()
	calls, ctx := l.administer(), within(l.t)
	for {
		s, err := calls.Status(ctx, &admin.StatusRequest{})
		if err == nil {
			err = fits(s)
		}
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			l.t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// voter waits until the member votes.
func (l *life) voter() {
	l.t.Helper()
	l.reports(func(s *admin.StatusResponse) error {
		if s.Raft.Learner {
			return errors.New("a learner still")
		}
		return nil
	})
}

// three begins a cluster of three voters.
func three(t *testing.T) []*life {
	t.Helper()
	return threeOf(t, func(*Options) {})
}

// threeOf is three, of members that are not as usual.
func threeOf(t *testing.T, change func(*Options)) []*life {
	t.Helper()
	var members []*life
	for _, name := range []string{"one", "two", "three"} {
		o := advertised(t, name)
		change(&o)
		members = append(members, begin(t, o))
	}
	by := members[0].invite(&admin.InviteRequest{Uses: 2})
	for _, l := range members[1:] {
		l.join(by)
		l.voter()
	}
	return members
}

func TestThreeMembersAgree(t *testing.T) {
	members := three(t)
	for i, l := range members {
		key := fmt.Sprint("from ", i)
		if _, err := l.client.Put(within(t), key, "x"); err != nil {
			t.Fatalf("put at member %d: %v", i, err)
		}
		for j, other := range members {
			got, err := other.client.Get(within(t), key)
			if err != nil || len(got.Kvs) != 1 {
				t.Fatalf("get at member %d of what was put at %d: %v, %v", j, i, got, err)
			}
		}
	}
	if got, err := members[2].client.Get(within(t), "from 0", clientv3.WithSerializable()); err != nil || len(got.Kvs) != 1 {
		t.Errorf("serializable: %v, %v", got, err)
	}
}

func TestAMemberComesBackAndSoDoesTheWholeCluster(t *testing.T) {
	members := three(t)
	if _, err := members[0].client.Put(within(t), "k", "1"); err != nil {
		t.Fatal(err)
	}
	options := make([]Options, len(members))
	for i, l := range members {
		options[i] = Options{Config: *l.d.config(), Level: l.d.level, Logger: l.d.log}
		options[i].Config.ListenPeer = l.d.doors.peer()[0].Addr().String() // where the others look
	}
	members[0].end()
	if _, err := members[1].client.Put(within(t), "k", "2"); err != nil {
		t.Fatalf("put with one member down: %v", err)
	}
	members[0] = begin(t, options[0])
	if got, err := members[0].client.Get(within(t), "k"); err != nil || string(got.Kvs[0].Value) != "2" {
		t.Fatalf("%v, %v", got, err)
	}
	for _, l := range members {
		l.end()
	}
	for i := range members {
		members[i] = begin(t, options[i]) // nobody waits for the others
	}
	if _, err := members[2].client.Put(within(t), "k", "3"); err != nil {
		t.Fatal(err)
	}
}

func TestAMachineJoinsAsItsSettingsSay(t *testing.T) {
	one := begin(t, advertised(t, "one"))
	by := one.invite(&admin.InviteRequest{Learner: true})
	o := advertised(t, "two")
	o.Config.Join, o.Config.TokenFile = by.Address, filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(o.Config.TokenFile, []byte(by.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	two := begin(t, o)
	two.reports(func(s *admin.StatusResponse) error {
		if s.Raft.Leader == 0 || !s.Raft.Learner {
			return fmt.Errorf("leader %x, learner %v", s.Raft.Leader, s.Raft.Learner)
		}
		return nil
	})
	two.end()
	two = begin(t, o) // the token is used up, and not needed any more
	if _, err := two.client.Put(within(t), "k", "v"); err != nil {
		t.Fatal(err)
	}
	two.end()
	for _, dir := range []string{"raft", "state"} { // as if it had died before anything came
		if err := os.RemoveAll(filepath.Join(o.Config.DataDir, dir)); err != nil {
			t.Fatal(err)
		}
	}
	two = begin(t, o) // at another port, which nobody knows
	if got, err := two.client.Get(within(t), "k"); err != nil || len(got.Kvs) != 1 {
		t.Fatalf("got %v, %v", got, err)
	}
}

func TestAMachineJoinsWithSystemdsCredential(t *testing.T) {
	one := begin(t, advertised(t, "one"))
	by := one.invite(&admin.InviteRequest{})
	credentials := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	o := advertised(t, "two")
	o.Config.Join = by.Address
	if _, err := Open(t.Context(), o); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), filepath.Join(credentials, "join-token")) {
		t.Errorf("without the credential: %v", err)
	}
	if err := os.WriteFile(filepath.Join(credentials, "join-token"), []byte(by.Token), 0o400); err != nil {
		t.Fatal(err)
	}
	two := begin(t, o)
	two.voter()
	if m := one.list()["two"]; m == nil || m.id != two.d.dir.memberID() {
		t.Errorf("it joined as %+v", m)
	}
}

// It has been let in, and the others cannot come to it: its log says where they
// tried, and the next start with another setting mends it.
func TestAMachineThatCannotBeReachedIsToldWhere(t *testing.T) {
	one := begin(t, advertised(t, "one"))
	o, said := advertised(t, "two"), new(sayings)
	o.Logger = slog.New(slog.NewTextHandler(said, nil))
	o.Config.Advertise = "127.0.0.99" // where its door is not
	two := begin(t, o)
	by := one.invite(&admin.InviteRequest{})
	if _, err := two.administer().Join(within(t), &admin.JoinRequest{Token: by.Token, Address: by.Address}); err != nil {
		t.Fatal(err)
	}
	one.reports(func(*admin.StatusResponse) error {
		for line := range strings.Lines(said.String()) {
			if strings.Contains(line, "not taken in yet") && strings.Contains(line, "cannot be reached at 127.0.0.99:") &&
				strings.Contains(line, "connection refused") && strings.Contains(line, "correct its advertise setting, or open the port") {
				return nil
			}
		}
		return errors.New(said.String())
	})
	if len(one.list()) != 1 {
		t.Errorf("it was taken in: %v", one.list())
	}
	if err := two.end(); err != nil {
		t.Fatal(err)
	}
	o.Config.Advertise = "127.0.0.1"
	begin(t, o).voter()
}

func TestWhoCannotJoinIsToldWhyAndNothingChanges(t *testing.T) {
	one, two := begin(t, advertised(t, "one")), begin(t, advertised(t, "two"))
	good := one.invite(&admin.InviteRequest{})
	foreign := two.invite(&admin.InviteRequest{})
	if _, err := two.administer().RevokeToken(within(t), &admin.RevokeTokenRequest{Token: foreign.Token}); err != nil {
		t.Fatal(err)
	}
	namesake := begin(t, advertised(t, "one"))
	used := begin(t, advertised(t, "three"))
	if _, err := used.client.Put(within(t), "k", "v"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		who            *life
		token, address string
		code           codes.Code
		want           string
	}{
		"no token":        {two, "x", good.Address, codes.InvalidArgument, "not a join token"},
		"nobody there":    {two, good.Token, "127.0.0.1:1", codes.Unavailable, "127.0.0.1:1"},
		"another cluster": {two, foreign.Token, good.Address, codes.FailedPrecondition, "root"},
		"a taken name":    {namesake, good.Token, good.Address, codes.AlreadyExists, `"one"`},
		"data":            {used, good.Token, good.Address, codes.FailedPrecondition, "--discard"},
	} {
		_, err := c.who.administer().Join(within(t), &admin.JoinRequest{Token: c.token, Address: c.address})
		if status.Code(err) != c.code || !strings.Contains(status.Convert(err).Message(), c.want) {
			t.Errorf("%s: %v, want %s with %q", name, err, c.code, c.want)
		}
	}
	two.join(good)
	_, err := used.administer().Join(within(t), &admin.JoinRequest{Token: good.Token, Address: good.Address, Discard: true})
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "used up") {
		t.Errorf("a used token: %v", err)
	}
	if got, err := used.client.Get(within(t), "k"); err != nil || len(got.Kvs) != 1 {
		t.Errorf("the data of who was refused: %v, %v", got, err)
	}
}
