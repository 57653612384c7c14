// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/cleatd/cleat/admin"
)

// leaderFirst begins three members and returns the leader before the others.
func leaderFirst(t *testing.T) []*life {
	t.Helper()
	members := three(t)
	leader := members[0].d.node.Status().Leader
	at := slices.IndexFunc(members, func(l *life) bool { return l.d.dir.memberID() == leader })
	members[0], members[at] = members[at], members[0]
	return members
}

func TestALockIsHeldByOneOfTwoFollowersClients(t *testing.T) {
	members := leaderFirst(t)
	const rounds = 20
	var both errgroup.Group
	for _, l := range members[1:] {
		session, err := concurrency.NewSession(l.client, concurrency.WithContext(within(t)))
		if err != nil {
			t.Fatal(err)
		}
		both.Go(func() error {
			lock := concurrency.NewMutex(session, "lock/")
			for range rounds {
				if err := lock.Lock(within(t)); err != nil {
					return err
				}
				if err := l.countUp(within(t)); err != nil {
					return err
				}
				if err := lock.Unlock(within(t)); err != nil {
					return err
				}
			}
			return session.Close()
		})
	}
	if err := both.Wait(); err != nil {
		t.Fatal(err)
	}
	if r, err := members[0].client.Get(within(t), "count"); err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != fmt.Sprint(2*rounds) {
		t.Errorf("the count is %v, %v", r, err)
	}
}

// countUp reads a number and writes the next, in two requests: only a lock
// keeps another from coming between.
func (l *life) countUp(ctx context.Context) error {
	r, err := l.client.Get(ctx, "count")
	if err != nil {
		return err
	}
	n := 0
	if len(r.Kvs) == 1 {
		if n, err = strconv.Atoi(string(r.Kvs[0].Value)); err != nil {
			return err
		}
	}
	_, err = l.client.Put(ctx, "count", fmt.Sprint(n+1))
	return err
}

// The stream stays at its follower while leadership moves, and then while the
// leader goes away.
func TestALeaseIsKeptAliveAtAFollowerAcrossLeaders(t *testing.T) {
	members := leaderFirst(t)
	old, next, third := members[0], members[1], members[2]
	lease, err := third.client.Grant(within(t), 6)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := pb.NewLeaseClient(third.connection()).LeaseKeepAlive(within(t))
	if err != nil {
		t.Fatal(err)
	}
	keep := func() {
		t.Helper()
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(lease.ID)}); err != nil {
			t.Fatal(err)
		}
		if r, err := stream.Recv(); err != nil || r.TTL != 6 {
			t.Fatalf("kept alive: %v, %v", r, err)
		}
	}
	keep()
	if _, err := old.client.MoveLeader(within(t), next.d.dir.memberID()); err != nil {
		t.Fatal(err)
	}
	keep()

	ctx, stop := context.WithCancel(within(t))
	defer stop()
	kept, err := third.client.KeepAlive(ctx, lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	if r := <-kept; r == nil {
		t.Fatal("not kept alive")
	}
	if err := next.end(); err != nil {
		t.Fatal(err)
	}
	for range 5 { // more than its six seconds
		if r, open := <-kept; !open || r.TTL != 6 {
			t.Fatalf("without its leader: %v", r)
		}
	}
}

// issue returns what a client needs to come in by TLS.
func (l *life) issue() *tls.Config {
	l.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		l.t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "alice"}}, key)
	if err != nil {
		l.t.Fatal(err)
	}
	r, err := l.administer().IssueCertificate(within(l.t), &admin.IssueCertificateRequest{Csr: csr, Profile: "client"})
	if err != nil {
		l.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		l.t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(r.ChainPem, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		l.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.BundlePem)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}
}

func TestAClientThatKnowsOneMemberFindsTheOthers(t *testing.T) {
	for name, every := range map[string]time.Duration{"it asks": 0, "it asks by itself": 20 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			members := leaderFirst(t)
			known := members[1]
			c, err := clientv3.New(clientv3.Config{
				Endpoints: known.d.clientURLs(), TLS: known.issue(), AutoSyncInterval: every,
				DialTimeout: patience, Logger: zap.NewNop(),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if every == 0 {
				if err := c.Sync(within(t)); err != nil {
					t.Fatal(err)
				}
			}
			known.reports(func(*admin.StatusResponse) error {
				for _, l := range members {
					if !slices.Contains(c.Endpoints(), l.d.clientURLs()[0]) {
						return fmt.Errorf("it knows %v, not %v", c.Endpoints(), l.d.clientURLs())
					}
				}
				return nil
			})
			if err := known.end(); err != nil {
				t.Fatal(err)
			}
			answered := map[uint64]bool{}
			for ctx := within(t); len(answered) < 2; {
				r, err := c.Put(ctx, "k", "v")
				if err != nil {
					t.Fatalf("with the one gone that it knew first: %v", err)
				}
				answered[r.Header.MemberId] = true
			}
		})
	}
}

func TestADeadMemberIsReplacedUnderItsName(t *testing.T) {
	members := three(t)
	dead := members[2]
	id := dead.d.dir.memberID()
	if err := dead.end(); err != nil {
		t.Fatal(err)
	}
	if _, err := members[1].client.MemberRemove(within(t), id); err != nil {
		t.Fatal(err)
	}
	fresh := begin(t, advertised(t, "three"))
	fresh.join(members[1].invite(&admin.InviteRequest{}))
	fresh.voter()
	for _, l := range []*life{members[0], members[1], fresh} {
		list := l.list()
		if m := list["three"]; len(list) != 3 || m == nil || m.id == id || m.id != fresh.d.dir.memberID() {
			t.Errorf("%s knows %v", l.d.config().Name, list)
		}
	}
	if err := members[0].end(); err != nil { // two of three with it
		t.Fatal(err)
	}
	if _, err := fresh.client.Put(within(t), "k", "v"); err != nil {
		t.Error(err)
	}
}
