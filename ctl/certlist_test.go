// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleatd/cleat/admin"
)

// registry answers as the part of a member's Admin service that knows the
// certificates.
type registry struct {
	office
	certificates []*admin.IssuedCertificate
	listed       *admin.ListCertificatesRequest
	revoked      *admin.RevokeCertificateRequest
	events       []*admin.AuditEvent
	audited      *admin.AuditRequest
	fault        error
}

func (r *registry) ListCertificates(_ context.Context, q *admin.ListCertificatesRequest) (*admin.ListCertificatesResponse, error) {
	r.listed = q
	return &admin.ListCertificatesResponse{Certificates: r.certificates}, r.fault
}

func (r *registry) RevokeCertificate(_ context.Context, q *admin.RevokeCertificateRequest) (*admin.RevokeCertificateResponse, error) {
	r.revoked = q
	return &admin.RevokeCertificateResponse{Certificates: r.certificates}, r.fault
}

func (r *registry) RevocationList(_ context.Context, q *admin.RevocationListRequest) (*admin.RevocationListResponse, error) {
	return &admin.RevocationListResponse{Der: []byte("list of " + q.GetIssuer())}, r.fault
}

func (r *registry) Audit(q *admin.AuditRequest, out grpc.ServerStreamingServer[admin.AuditResponse]) error {
	r.audited = q
	for _, e := range r.events {
		if err := out.Send(&admin.AuditResponse{Events: []*admin.AuditEvent{e}}); err != nil {
			return err
		}
	}
	return r.fault
}

func TestCertificatesAreListedAndRevoked(t *testing.T) {
	then, past := timestamppb.New(time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)), timestamppb.New(time.Unix(0, 0))
	r := &registry{certificates: []*admin.IssuedCertificate{
		{Serial: "12", Name: "alice", Profile: "client", NotBefore: past, NotAfter: then},
		{Serial: "13", Name: "member/a2", Profile: "peer", Member: 0xa2, NotBefore: past, NotAfter: past},
		{Serial: "14", Name: "bob", Profile: "client", NotBefore: past, NotAfter: then, Revoked: &admin.Revocation{Time: past, Reason: "superseded"}},
	}}
	socket := r.serve(t, r)
	want := `12, alice, client, , 2100-01-02T03:04:05Z, good
13, member/a2, peer, a2, 1970-01-01T00:00:00Z, expired
14, bob, client, , 2100-01-02T03:04:05Z, revoked 1970-01-01T00:00:00Z (superseded)
`
	for _, line := range [][]string{{"cert", "list"}, {"cert", "revoke", "alice"}} {
		if code, stdout, stderr := cleatctl(t, append(line, "--socket", socket)...); code != exitDone || stdout != want {
			t.Errorf("%s: exit code %d, got\n%s%s\nwant\n%s", line, code, stdout, stderr, want)
		}
	}
	if want := (&admin.RevokeCertificateRequest{Certificate: "alice", Reason: "unspecified"}); !proto.Equal(r.revoked, want) {
		t.Errorf("asked for %v, want %v", r.revoked, want)
	}
	cleatctl(t, "cert", "list", "--name=alice", "--profile", "client", "--member=a2", "--revoked", "--all", "--ends-within", "90m", "--socket", socket)
	if want := (&admin.ListCertificatesRequest{
		Certificate: "alice", Profile: "client", Member: 0xa2, Revoked: true, Ended: true, EndsWithinSeconds: 5400,
	}); !proto.Equal(r.listed, want) {
		t.Errorf("asked for %v, want %v", r.listed, want)
	}
	if _, stdout, _ := cleatctl(t, "cert", "list", "--json", "--socket", socket); !strings.HasPrefix(stdout, `{"certificates":[{"serial":"12","name":"alice","profile":"client","not_before"`) {
		t.Errorf("JSON: %s", stdout)
	}
	if _, stdout, _ := cleatctl(t, "cert", "list", "-w", "table", "--socket", socket); strings.Count(stdout, "\n") != 7 || !strings.Contains(stdout, " alice │") {
		t.Errorf("table:\n%s", stdout)
	}
	r.certificates = nil
	if _, stdout, _ := cleatctl(t, "cert", "list", "--json", "--socket", socket); stdout != `{"certificates":[]}`+"\n" {
		t.Errorf("JSON of none: %s", stdout)
	}
}

func TestACertificateInAFileIsShownWhetherTheClusterKnowsItOrNot(t *testing.T) {
	r := &registry{}
	socket := r.serve(t, r)
	path := filepath.Join(t.TempDir(), "root.crt")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	r.certificates = []*admin.IssuedCertificate{{
		Serial: "1", Name: "alice", Profile: "client", Der: r.cert.Raw,
		NotBefore: timestamppb.New(r.cert.NotBefore), NotAfter: timestamppb.New(r.cert.NotAfter),
	}}
	for _, which := range []string{path, "1"} {
		code, stdout, stderr := cleatctl(t, "cert", "show", which, "--socket", socket)
		if code != exitDone || !strings.Contains(stdout, "serial: 1 (hex 1)\nname: alice\nprofile: client\n") || !strings.Contains(stdout, "state: good\n") {
			t.Errorf("%s: exit code %d: %s%s", which, code, stdout, stderr)
		}
		if want := (&admin.ListCertificatesRequest{Certificate: "1", Ended: true}); !proto.Equal(r.listed, want) {
			t.Errorf("%s: asked for %v", which, r.listed)
		}
	}
	r.fault = status.Error(codes.NotFound, "pki: no such certificate")
	code, stdout, stderr := cleatctl(t, "cert", "show", path, "--socket", socket)
	if code != exitDone || !strings.Contains(stdout, "state: unknown to the cluster\n") || !strings.Contains(stderr, "does not know this certificate") {
		t.Errorf("unknown: exit code %d: %s%s", code, stdout, stderr)
	}
	if code, _, stderr := cleatctl(t, "cert", "show", "77", "--socket", socket); code != exitFailed || !strings.Contains(stderr, "no such certificate") {
		t.Errorf("an unknown serial: exit code %d: %s", code, stderr)
	}
	if code, _, stderr := cleatctl(t, "cert", "show", path+".gone", "--socket", socket); code != exitFailed || !strings.Contains(stderr, "no such file") {
		t.Errorf("a file that is not there: exit code %d: %s", code, stderr)
	}
}

func TestTheRevocationListIsWrittenAsItIsWanted(t *testing.T) {
	r := &registry{}
	socket := r.serve(t, r)
	_, stdout, _ := cleatctl(t, "cert", "crl", "--issuer", "c0ffee", "--socket", socket)
	block, rest := pem.Decode([]byte(stdout))
	if block == nil || block.Type != "X509 CRL" || string(block.Bytes) != "list of c0ffee" || len(rest) != 0 {
		t.Errorf("got %q", stdout)
	}
	path := filepath.Join(t.TempDir(), "crl")
	code, stdout, stderr := cleatctl(t, "cert", "crl", "--der", "--out", path, "--socket", socket)
	if written, err := os.ReadFile(path); code != exitDone || stdout != "" || err != nil || !bytes.Equal(written, []byte("list of ")) {
		t.Errorf("exit code %d, %q, %q; %q, %v", code, stdout, stderr, written, err)
	}
	r.fault = errors.New("no list")
	if code, stdout, _ := cleatctl(t, "cert", "crl", "--socket", socket); code != exitFailed || stdout != "" {
		t.Errorf("without one: exit code %d, %q", code, stdout)
	}
}

func TestTheAuditIsALineAnEvent(t *testing.T) {
	at := timestamppb.New(time.Date(2100, 1, 2, 3, 4, 5, 6e6, time.UTC))
	r := &registry{events: []*admin.AuditEvent{
		{Time: at, Member: 0xa2, Act: "issue", What: "certificate issued", Name: "alice", Profile: "client", Serial: "12", NotAfter: at},
		{Time: at, Member: 0xa3, Act: "refuse", What: "connection refused", Door: "client", Remote: "10.0.0.9:1", Detail: "of \"x\x1b[2J\ny\""},
		{Time: at, Member: 0xa3, Act: "refuse", What: "more were refused", Reason: "expired", Count: 999},
	}}
	socket := r.serve(t, r)
	want := `2100-01-02T03:04:05.006Z a2 issue: certificate issued name=alice profile=client serial=12 not_after=2100-01-02T03:04:05Z
2100-01-02T03:04:05.006Z a3 refuse: connection refused door=client remote=10.0.0.9:1 detail="of \"x\x1b[2J\ny\""
2100-01-02T03:04:05.006Z a3 refuse: more were refused reason=expired count=999
`
	if code, stdout, stderr := cleatctl(t, "audit", "--socket", socket); code != exitDone || stdout != want {
		t.Errorf("exit code %d, got\n%s%s\nwant\n%s", code, stdout, stderr, want)
	}
	if _, stdout, _ := cleatctl(t, "audit", "--act=issue", "--since", "2100-01-02T03:04:05.006Z", "--json", "--socket", socket); strings.Count(stdout, "\n") != 1 ||
		!strings.Contains(stdout, `"member":"a2","act":"issue","what":"certificate issued"`) || !proto.Equal(r.audited.Since, at) {
		t.Errorf("asked since %v, got %s", r.audited.Since, stdout)
	}
	r.fault = status.Error(codes.Unavailable, "no leader")
	if code, _, stderr := cleatctl(t, "audit", "--since=1h", "--follow", "--socket", socket); code != exitFailed || !strings.Contains(stderr, "no leader") || !r.audited.Follow {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestALineAboutCertificatesThatMakesNoSenseIsNotSent(t *testing.T) {
	for line, want := range map[string]string{
		"cert list alice":                  "--name alice",
		"cert list --profile root":         "none of peer, client, server",
		"cert list --member zz":            "no member's ID",
		"cert list --ends-within 1ms":      "a second at least",
		"cert list --endpoints=h:1":        "speaks to the socket only",
		"cert show":                        "needs one SERIAL",
		"cert revoke":                      "needs one SERIAL or NAME",
		"cert revoke a b":                  "needs one SERIAL or NAME",
		"cert revoke a --reason whim":      "none of unspecified, key-compromise",
		"cert crl now":                     "takes no argument",
		"cert crl -w json":                 "no form",
		"audit all":                        "takes no argument",
		"audit --since yesterday":          "neither how long ago",
		"audit --since=-1h":                "neither how long ago",
		"audit --act everything":           "none of issue, renew",
		"audit --follow -w table":          "no form",
		"audit --endpoints=10.0.0.1:2379 ": "speaks to the socket only",
	} {
		words := strings.Fields(line)
		if !strings.Contains(line, "--endpoints") {
			words = append(words, "--socket=/nonexistent")
		}
		if code, stdout, stderr := cleatctl(t, words...); code != exitMisused || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %q", line, code, stderr)
		}
	}
}
