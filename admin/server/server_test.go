// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/pki"
	"github.com/cleatd/cleat/raft"
)

// ledger keeps the CA and the tokens of a test in memory. Its conditions always
// hold: there is one writer.
type ledger struct {
	mu     sync.Mutex
	values map[string][]byte
	err    error // of every commit, while set
}

func (l *ledger) Get(_ context.Context, bucket string, key []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.values[bucket+"\x00"+string(key)], nil
}

func (l *ledger) List(_ context.Context, bucket string, prefix []byte) ([]pki.Item, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var items []pki.Item
	for at, value := range l.values {
		if key, found := strings.CutPrefix(at, bucket+"\x00"); found && strings.HasPrefix(key, string(prefix)) {
			items = append(items, pki.Item{Key: []byte(key), Value: value})
		}
	}
	return items, l.err
}

func (l *ledger) Commit(_ context.Context, ops []pki.Op) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, op := range ops {
		if l.err == nil {
			l.values[op.Bucket+"\x00"+string(op.Key)] = op.Value
		}
	}
	return l.err == nil, l.err
}

func (l *ledger) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

type node raft.Status

func (n node) Status() raft.Status { return raft.Status(n) }

type store struct{}

func (store) Size() (total, inUse int64) { return 4096, 1024 }
func (store) Revision() int64            { return 12 }
func (store) Compacted() int64           { return 5 }

// setUp is a member's service on a Unix socket, and what stands behind it.
type setUp struct {
	client    admin.AdminClient
	authority *pki.Authority
	ledger    *ledger
	address   *string       // of the peer door
	asked     *[]string     // the metrics that members were asked for; read only after a call
	logs      *bytes.Buffer // read only after a call has returned
}

func start(t *testing.T) setUp {
	t.Helper()
	s := setUp{ledger: &ledger{values: make(map[string][]byte)}, address: new(string), asked: new([]string), logs: new(bytes.Buffer)}
	var err error
	s.authority, err = pki.Open(t.Context(), pki.Config{
		Dir: filepath.Join(t.TempDir(), "pki"), ClusterID: 7, MemberID: 8, Name: "green", Ledger: s.ledger,
	})
	if err != nil {
		t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	for name, value := range map[string]float64{"wanted": 4, "unwanted": 5} {
		gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: name})
		gauge.Set(value)
		metrics.MustRegister(gauge)
	}
	service := New(Config{
		Authority: s.authority, Node: node{Leader: 8, Term: 2, Applied: 90, Commit: 91}, Store: store{},
		Doors:     func() *admin.Doors { return &admin.Doors{Client: "127.0.0.1:2379"} },
		Space:     func() *admin.Space { return &admin.Space{Ok: true, Free: 3, Reserve: 2} },
		ClusterID: 7, MemberID: 8, Name: "green", Version: "1.2.3",
		PeerAddress: func() string { return *s.address },
		DataDir:     "/data", Quota: func() int64 { return 6 }, Metrics: metrics,
		Alarms: func() []*admin.Alarm { return []*admin.Alarm{{Type: "NOSPACE", Member: 9}} },
		Members: func(_ context.Context, metrics []string) []*admin.MemberStatus {
			*s.asked = metrics
			return []*admin.MemberStatus{{Id: 8}, {Id: 9, Unreached: "gone"}}
		},
		Logger: slog.New(slog.NewTextHandler(s.logs, nil)),
	})
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	door := grpc.NewServer()
	service.Register(door)
	ended := make(chan error, 1)
	go func() { ended <- door.Serve(l) }()
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		door.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	s.client = admin.NewAdminClient(conn)
	return s
}

func request(t *testing.T, name string) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

func TestACertificateIsIssuedForTheCallersKey(t *testing.T) {
	s := start(t)
	key, csr := request(t, "alice")
	reply, err := s.client.IssueCertificate(t.Context(), &admin.IssueCertificateRequest{Csr: csr, Profile: "client", TtlSeconds: 3600})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(reply.BundlePem) || !bytes.Equal(reply.BundlePem, s.authority.Bundle()) {
		t.Error("the bundle is not the CA's")
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(reply.ChainPem, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	if err != nil {
		t.Fatal(err)
	}
	middle := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		middle.AddCert(c)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: middle, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		t.Error(err)
	}
	if pair.Leaf.Subject.CommonName != "alice" || pair.Leaf.SerialNumber.String() != reply.Serial ||
		!pair.Leaf.NotAfter.Equal(reply.NotAfter.AsTime()) {
		t.Errorf("the reply tells of another certificate: %v", reply)
	}
	if left := time.Until(pair.Leaf.NotAfter); left > time.Hour+time.Second || left < 59*time.Minute {
		t.Errorf("it lives %v, want an hour", left)
	}
}

func TestStatusTellsWhatTheMemberIs(t *testing.T) {
	s := start(t)
	got, err := s.client.Status(t.Context(), &admin.StatusRequest{Members: true, Metrics: []string{"wanted", "none"}})
	if err != nil {
		t.Fatal(err)
	}
	kinds := ""
	for i, c := range s.authority.Certificates() {
		kinds += c.Kind + " "
		if !got.Certificates[i].NotAfter.AsTime().Equal(c.NotAfter) || got.Certificates[i].Serial != c.SerialNumber.String() {
			t.Errorf("%s: %v", c.Kind, got.Certificates[i])
		}
	}
	if kinds != "root intermediate member " || time.Since(got.Started.AsTime()) > time.Hour {
		t.Errorf("certificates %s, started %v", kinds, got.Started)
	}
	if clock := time.Since(got.Time.AsTime()).Abs(); clock > time.Hour {
		t.Errorf("its clock is %v away", clock)
	}
	if wanted := new(dto.MetricFamily); len(got.Metrics) != 1 || proto.Unmarshal(got.Metrics[0], wanted) != nil || wanted.GetMetric()[0].GetGauge().GetValue() != 4 {
		t.Errorf("metrics: %d, %v", len(got.Metrics), wanted)
	}
	for i, m := range got.Members {
		if tells := m.Status != nil; tells != (m.Id == 8) || tells && (m.Status.Name != "green" || len(m.Status.Metrics) != 1) {
			t.Errorf("member %d is %v", i, m)
		}
	}
	if len(got.Members) != 2 || strings.Join(*s.asked, " ") != "wanted none" {
		t.Errorf("%d members, who were asked for %q", len(got.Members), *s.asked)
	}
	if k := got.ClusterKey; len(k.GetId()) != 16 || k.Locked != "" || k.Exported {
		t.Errorf("the cluster key: %v", k)
	}
	got.Certificates, got.Started, got.Time, got.Metrics, got.Members, got.ClusterKey = nil, nil, nil, nil, nil, nil
	want := &admin.StatusResponse{
		Version: "1.2.3", ClusterId: 7, MemberId: 8, Name: "green",
		Doors:    &admin.Doors{Client: "127.0.0.1:2379"},
		Raft:     &admin.Raft{Leader: 8, Term: 2, Applied: 90, Commit: 91},
		Database: &admin.Database{Size: 4096, SizeInUse: 1024, Revision: 12, Compacted: 5, Quota: 6},
		Space:    &admin.Space{Ok: true, Free: 3, Reserve: 2},
		Alarms:   []*admin.Alarm{{Type: "NOSPACE", Member: 9}},
		Process:  &admin.Process{Pid: int64(os.Getpid()), DataDir: "/data"},
	}
	if !proto.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestBadRequestsAreTheCallersFault(t *testing.T) {
	s := start(t)
	_, alice := request(t, "alice")
	_, nobody := request(t, "")
	cases := []struct {
		name string
		r    *admin.IssueCertificateRequest
	}{
		{"nothing", &admin.IssueCertificateRequest{}},
		{"no request", &admin.IssueCertificateRequest{Profile: "client"}},
		{"rubbish", &admin.IssueCertificateRequest{Profile: "client", Csr: []byte("rubbish")}},
		{"a huge request", &admin.IssueCertificateRequest{Profile: "client", Csr: make([]byte, maxRequestBytes+1)}},
		{"an unknown profile", &admin.IssueCertificateRequest{Profile: "root", Csr: alice}},
		{"a member's profile", &admin.IssueCertificateRequest{Profile: "peer", Csr: alice}},
		{"no name", &admin.IssueCertificateRequest{Profile: "client", Csr: nobody}},
		{"a negative life", &admin.IssueCertificateRequest{Profile: "client", Csr: alice, TtlSeconds: -1}},
		{"a life that overflows", &admin.IssueCertificateRequest{Profile: "client", Csr: alice, TtlSeconds: math.MaxInt64}},
		{"a life of ten years", &admin.IssueCertificateRequest{Profile: "client", Csr: alice, TtlSeconds: 10 * 365 * 86400}},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			if _, err := s.client.IssueCertificate(t.Context(), test.r); status.Code(err) != codes.InvalidArgument {
				t.Errorf("got %v, want InvalidArgument", err)
			}
		})
	}
	if s.logs.Len() != 0 {
		t.Errorf("a caller's fault was logged:\n%s", s.logs)
	}
}

func TestTheLedgersFaultsKeepTheirMeaning(t *testing.T) {
	s := start(t)
	_, csr := request(t, "alice")
	for cause, want := range map[error]codes.Code{
		fmt.Errorf("propose: %w", raft.ErrNoLeader): codes.Unavailable,
		fmt.Errorf("propose: %w", raft.ErrUnknown):  codes.Unknown,
		context.DeadlineExceeded:                    codes.DeadlineExceeded,
		errors.New("the disk is on fire"):           codes.Internal,
	} {
		s.ledger.fail(cause)
		_, err := s.client.IssueCertificate(t.Context(), &admin.IssueCertificateRequest{Csr: csr, Profile: "client"})
		if status.Code(err) != want {
			t.Errorf("%v: got %v, want %v", cause, err, want)
		}
	}
	if n := bytes.Count(s.logs.Bytes(), []byte("unknown fault")); n != 1 {
		t.Errorf("logged %d unknown faults, want the one that is unknown:\n%s", n, s.logs)
	}
}
