// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cleatd/cleat/admin"
)

func (l *life) keyFile() string { return filepath.Join(l.d.config().DataDir, "pki", "cluster.key") }

// hasKey waits until a member has that cluster key, and no other.
func (l *life) hasKey(id string) {
	l.t.Helper()
	l.reports(func(s *admin.StatusResponse) error {
		k := s.ClusterKey
		if k.GetId() != id || k.Locked != "" || k.Next != "" || k.Previous != "" {
			return fmt.Errorf("%s: %v, want key %s alone", s.Name, k, id)
		}
		return l.oneKey()
	})
}

func (l *life) oneKey() error {
	text, err := os.ReadFile(l.keyFile())
	if n := bytes.Count(text, []byte("-----BEGIN")); err == nil && n != 1 {
		return fmt.Errorf("%d keys lie on the disk", n)
	}
	return err
}

func TestTheClusterKeyIsReplacedEverywhere(t *testing.T) {
	members := three(t)
	before, err := members[0].administer().Status(within(t), &admin.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	away := members[2].d
	o := Options{Config: *away.config(), Level: away.level, Logger: away.log}
	if err := members[2].end(); err != nil {
		t.Fatal(err)
	}
	r, err := members[1].administer().RotateClusterKey(within(t), &admin.RotateClusterKeyRequest{PatienceSeconds: 3})
	if err != nil || r.Old != before.ClusterKey.Id || r.New == r.Old || !slices.Equal(r.Missing, []uint64{away.dir.memberID()}) {
		t.Fatal(r, err)
	}
	if _, err := members[0].administer().RotateClusterKey(within(t), &admin.RotateClusterKeyRequest{PatienceSeconds: 1}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("another one at the same time: %v", err)
	}
	members[2] = begin(t, o)
	for _, l := range members {
		l.hasKey(r.New)
		l.issue()
	}
	late := begin(t, advertised(t, "late"))
	late.join(members[1].invite(&admin.InviteRequest{}))
	late.hasKey(r.New)
	late.issue()
}

// A stranger is nobody to give a key to, and neither is a member that was
// removed.
func TestOnlyMembersInTheListGetAKey(t *testing.T) {
	members := three(t)
	s, err := members[0].administer().Status(within(t), &admin.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	gone := members[2]
	gone.d.faults.stays = true
	ask := func() error {
		at, listed := memberAt(gone.d.node.Members(), members[0].d.dir.memberID())
		if !listed {
			t.Fatal("the member does not know the others")
		}
		return gone.d.peers.Invoke(within(t), at.ID, at.Address, admin.Peer_ClusterKey_FullMethodName,
			&admin.ClusterKeyRequest{Want: s.ClusterKey.Id, Have: []string{"ffffffffffffffff"}}, new(admin.ClusterKeyResponse))
	}
	if err := ask(); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a member that has no key to seal it with: %v", err)
	}
	if _, err := members[0].client.MemberRemove(within(t), gone.d.dir.memberID()); err != nil {
		t.Fatal(err)
	}
	if err := ask(); err == nil || status.Code(err) == codes.FailedPrecondition {
		t.Errorf("a member that was removed: %v", err)
	}
}

func TestAMemberWithoutItsKeyServesAndIsUnlocked(t *testing.T) {
	o := options(t, shortDir(t))
	l := begin(t, o)
	alice := l.issue()
	key, err := os.ReadFile(l.keyFile())
	if err != nil {
		t.Fatal(err)
	}
	file := l.keyFile()
	if err := errors.Join(l.end(), os.Remove(file)); err != nil {
		t.Fatal(err)
	}
	l = begin(t, o)
	if _, err := l.client.Put(within(t), "k", "v"); err != nil {
		t.Fatal(err)
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: l.d.clientURLs(), TLS: alice, DialTimeout: patience, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Get(within(t), "k"); err != nil {
		t.Error(err)
	}
	calls := l.administer()
	_, err = calls.IssueCertificate(within(t), signingRequest(t, "bob"))
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "cluster.key does not exist") {
		t.Errorf("%v, want the reason", err)
	}
	if s, err := calls.Status(within(t), &admin.StatusRequest{}); err != nil || s.ClusterKey.Locked == "" {
		t.Errorf("%v, %v", s, err)
	}
	if _, err := calls.UnlockCA(within(t), &admin.UnlockCARequest{}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("unlocked without a key: %v", err)
	}
	if _, err := calls.UnlockCA(within(t), &admin.UnlockCARequest{Keys: key}); err != nil {
		t.Fatal(err)
	}
	l.issue()
	if _, err := calls.LockCA(within(t), &admin.LockCARequest{RemoveFile: true}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("the last key was removed: %v", err)
	}
	if _, err := calls.LockCA(within(t), &admin.LockCARequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := calls.IssueCertificate(within(t), signingRequest(t, "bob")); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("issued while locked: %v", err)
	}
}

func TestTheClusterKeyMayBeACredential(t *testing.T) {
	o := options(t, shortDir(t))
	l := begin(t, o)
	handed := filepath.Join(t.TempDir(), "cluster.key")
	if err := errors.Join(l.end(), os.Rename(l.keyFile(), handed)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Dir(handed))
	l = begin(t, o)
	l.issue()
	if s, err := l.administer().Status(within(t), &admin.StatusRequest{}); err != nil || !s.ClusterKey.Credential || s.ClusterKey.Locked != "" {
		t.Errorf("%v, %v", s.GetClusterKey(), err)
	}
	if _, err := os.Stat(l.keyFile()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was copied to the disk: %v", err)
	}
}

// With its key a restored cluster goes on with the CA: who had a certificate
// comes in with it.
func TestARestoreWithTheClusterKeyKeepsTheCA(t *testing.T) {
	old := begin(t, advertised(t, "old"))
	alice := old.issue()
	old.invite(&admin.InviteRequest{})
	file := old.backup()
	key, err := old.administer().ExportClusterKey(within(t), &admin.ExportClusterKeyRequest{})
	if err != nil {
		t.Fatal(err)
	}
	next, err := old.administer().RotateClusterKey(within(t), &admin.RotateClusterKeyRequest{})
	if err != nil {
		t.Fatal(err)
	}
	old.hasKey(next.New)
	wrong, err := os.ReadFile(old.keyFile())
	if err != nil {
		t.Fatal(err)
	}
	none := options(t, shortDir(t))
	if _, err := Restore(none, Restoring{File: file, ClusterKey: wrong}); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), key.Id) {
		t.Errorf("with another key: %v", err)
	}
	if _, err := os.Stat(none.Config.DataDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key that does not fit wrote something: %v", err)
	}
	o := advertised(t, "new")
	r, err := Restore(o, Restoring{File: file, ClusterKey: key.Keys})
	if err != nil || !r.CA || !slices.Equal(r.Holders, []string{"alice"}) {
		t.Fatalf("%+v, %v", r, err)
	}
	restored := begin(t, o)
	comesIn(t, restored, alice, true)
	if tokens, err := restored.administer().ListTokens(within(t), &admin.ListTokensRequest{}); err != nil || len(tokens.Tokens) != 0 {
		t.Errorf("old invitations count: %v, %v", tokens, err)
	}
	joined := begin(t, advertised(t, "joined"))
	joined.join(restored.invite(&admin.InviteRequest{}))
	joined.voter()
	comesIn(t, joined, alice, true)
	if own, before := restored.d.pki.Certificates(), old.d.pki.Certificates(); !own[0].Equal(before[0].Certificate) || own[len(own)-1].Equal(before[len(before)-1].Certificate) {
		t.Error("the root is another, or the member's certificate is not")
	}

	without := options(t, shortDir(t))
	if r, err := Restore(without, Restoring{File: file}); err != nil || r.CA || !slices.Equal(r.Holders, []string{"alice"}) {
		t.Fatalf("%+v, %v", r, err)
	}
	comesIn(t, begin(t, without), alice, false)
}

// comesIn says whether a client is let in over the network; whom it trusts is
// looked at only if it should be.
func comesIn(t *testing.T, l *life, alice *tls.Config, want bool) {
	t.Helper()
	config := alice.Clone()
	config.InsecureSkipVerify, config.NextProtos = !want, []string{"http/1.1"}
	conn, err := tls.Dial("tcp", l.d.doors.client()[0].Addr().String(), config)
	if err == nil {
		_ = conn.SetDeadline(time.Now().Add(patience)) // a stranger is told when it reads
		_, err = conn.Write([]byte("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
		}
		_ = conn.Close()
	}
	if (err == nil) != want {
		t.Errorf("alice comes in: %v, want %v (%v)", err == nil, want, err)
	}
}

// signingRequest asks for a certificate for a key that nobody keeps.
func signingRequest(t *testing.T, name string) *admin.IssueCertificateRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &admin.IssueCertificateRequest{Csr: csr, Profile: "client"}
}
