// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleatd/cleat/admin"
)

// office answers as a member's Admin service would, with a CA of its own.
type office struct {
	admin.UnimplementedAdminServer
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
	asked  *admin.IssueCertificateRequest
	status *admin.StatusResponse
	wanted *admin.StatusRequest // of the last Status
}

func (o *office) Status(_ context.Context, r *admin.StatusRequest) (*admin.StatusResponse, error) {
	o.wanted = r
	return o.status, nil
}

func (o *office) IssueCertificate(_ context.Context, r *admin.IssueCertificateRequest) (*admin.IssueCertificateResponse, error) {
	o.asked = r
	request, err := x509.ParseCertificateRequest(r.GetCsr())
	if err != nil {
		return nil, err
	}
	until := time.Now().Add(time.Hour)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: request.Subject, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, o.cert, request.PublicKey, o.key)
	return &admin.IssueCertificateResponse{
		ChainPem:  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		BundlePem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: o.cert.Raw}),
		NotAfter:  timestamppb.New(until),
	}, err
}

// open serves the office on a socket and returns its path.
func (o *office) open(t *testing.T) string { return o.serve(t, o) }

// serve serves what has the office in it, and any more services.
func (o *office) serve(t *testing.T, whole admin.AdminServer, more ...func(grpc.ServiceRegistrar)) string {
	t.Helper()
	var err error
	if o.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, o.key.Public(), o.key)
	if err != nil {
		t.Fatal(err)
	}
	if o.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ctl") // t.TempDir's names are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	admin.RegisterAdminServer(server, whole)
	for _, register := range more {
		register(server)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-done; _ = os.RemoveAll(dir) })
	return path
}

func TestCertIssueLeavesFilesThatWork(t *testing.T) {
	o := &office{status: &admin.StatusResponse{Doors: &admin.Doors{Client: "127.0.0.1:2379"}}}
	socket, dir := o.open(t), filepath.Join(t.TempDir(), "alice")
	t.Setenv("ETCDCTL_ENDPOINTS", "elsewhere:2379") // for other commands, not for this one
	code, stdout, stderr := cleatctl(t, "cert", "issue", "alice", "--ttl=90m", "--out", dir, "--socket", socket)
	if code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	pair, err := tls.LoadX509KeyPair(dir+"/alice.crt", dir+"/alice.key")
	if err != nil || pair.Leaf.Subject.CommonName != "alice" {
		t.Errorf("got %v, %v", pair.Leaf.Subject, err)
	}
	if o.asked.GetProfile() != "client" || o.asked.GetTtlSeconds() != 5400 {
		t.Errorf("asked for %v", o.asked)
	}
	use := "--cacert=" + dir + "/ca.crt --cert=" + dir + "/alice.crt --key=" + dir + "/alice.key get foo\n"
	for _, want := range []string{"\n  cleatctl --endpoints=127.0.0.1:2379 " + use, "\n  etcdctl --endpoints=https://127.0.0.1:2379 " + use} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in %q", want, stdout)
		}
	}
}

func TestCertIssueAsksForNothingItCouldNotKeep(t *testing.T) {
	o := &office{}
	socket, dir := o.open(t), t.TempDir()
	if err := os.WriteFile(dir+"/alice.key", []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := cleatctl(t, "cert", "issue", "alice", "--out", dir, "--socket", socket)
	if code != exitFailed || stdout != "" || !strings.Contains(stderr, "alice.key is there already") || o.asked != nil {
		t.Fatalf("exit code %d, stderr %q, asked for %v", code, stderr, o.asked)
	}
	if code, _, stderr := cleatctl(t, "cert", "issue", "alice", "--out", dir, "--socket", socket, "--force"); code != exitDone {
		t.Fatalf("forced: exit code %d: %s", code, stderr)
	}
	if key, err := os.ReadFile(dir + "/alice.key"); err != nil || string(key) == "precious" {
		t.Fatalf("forced: %q, %v", key, err)
	}
}

func TestStatusIsOneScreen(t *testing.T) {
	now := time.Now()
	o := &office{status: &admin.StatusResponse{
		Version: "1.2.3", Name: "one", MemberId: 0xabc, ClusterId: 0xdef, Started: timestamppb.New(now.Add(-90 * time.Second)),
		Raft:     &admin.Raft{Leader: 0xabc, Term: 4, Applied: 10, Commit: 11},
		Database: &admin.Database{Revision: 7, Compacted: -1, Size: 20000, SizeInUse: 16000},
		Space:    &admin.Space{Free: 5e9, Reserve: 1e9},
		Doors:    &admin.Doors{Socket: "/s", Client: "127.0.0.1:1"},
		Certificates: []*admin.Certificate{
			{Kind: "root", NotAfter: timestamppb.New(now.Add(48*time.Hour + time.Minute))},
			{Kind: "member", NotAfter: timestamppb.New(now.Add(-time.Hour))},
		},
	}}
	socket := o.open(t)
	_, stdout, stderr := cleatctl(t, "status", "--socket", socket)
	for _, want := range []string{
		"member        one, id abc, of cluster def\n",
		"version       1.2.3, up for 1m3", // 30 s and what the test took
		"agreement     leads, term 4, applied 10 of 11\n",
		"history       revision 7, compacted never\n",
		"database      20 kB, 16 kB in use, no quota\n",
		"disk          5.0 GB free, writes stop below 1.0 GB: WRITES ARE REFUSED",
		"doors         socket /s, client 127.0.0.1:1\n",
		"certificate   root, good until ", "(2 days from now)\n",
		"certificate   member, EXPIRED on ",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s%s", want, stdout, stderr)
		}
	}
	if _, stdout, _ = cleatctl(t, "status", "-w", "json", "--socket", socket); !strings.Contains(stdout, `"name":"one"`) {
		t.Errorf("JSON: %s", stdout)
	}
}

// A member older than the command, or one that is not ours.
func TestACallTheMemberDoesNotKnowSaysSo(t *testing.T) {
	code, _, stderr := cleatctl(t, "get", "k", "--socket", (&office{}).open(t))
	if code != exitFailed || !strings.Contains(stderr, "this member does not know the call") {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
}
