// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleatd/cleat/admin"
)

// caOffice answers of a rotation as it goes on: one answer after the other, the
// last one for ever.
type caOffice struct {
	office
	mu       sync.Mutex
	answers  []*admin.CAStatusResponse // under mu
	rotated  *admin.RotateCARequest    // under mu
	imported *admin.ImportCARequest    // under mu
	refuses  error                     // of RotateCA
}

func (o *caOffice) next() *admin.CAStatusResponse {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.answers[0]
	if len(o.answers) > 1 {
		o.answers = o.answers[1:]
	}
	return proto.CloneOf(now)
}

func (o *caOffice) CAStatus(context.Context, *admin.CAStatusRequest) (*admin.CAStatusResponse, error) {
	return o.next(), nil
}

func (o *caOffice) RotateCA(_ context.Context, r *admin.RotateCARequest) (*admin.CAStatusResponse, error) {
	if o.refuses != nil {
		return nil, o.refuses
	}
	o.mu.Lock()
	o.rotated = r
	o.mu.Unlock()
	return o.next(), nil
}

func (o *caOffice) ImportCA(_ context.Context, r *admin.ImportCARequest) (*admin.CAStatusResponse, error) {
	o.mu.Lock()
	o.imported = r
	o.mu.Unlock()
	return o.next(), nil
}

func (o *caOffice) RequestCA(context.Context, *admin.RequestCARequest) (*admin.RequestCAResponse, error) {
	return &admin.RequestCAResponse{CsrPem: []byte("the request\n")}, nil
}

func (o *caOffice) open(t *testing.T) string { return o.serve(t, o) }

func authorityAt(r *admin.CARotation) *admin.CAStatusResponse {
	root := &admin.CACertificate{Subject: "CN=root", Digest: "d1", Held: true, NotAfter: timestamppb.New(time.Unix(2e9, 0))}
	theirs := &admin.CACertificate{Subject: "CN=company", Digest: "d2", NotAfter: timestamppb.New(time.Unix(2e9, 0))}
	return &admin.CAStatusResponse{Roots: []*admin.CACertificate{root}, Intermediates: []*admin.CACertificate{theirs}, Rotation: r}
}

func step(step, waits string, members ...*admin.CAMember) *admin.CARotation {
	return &admin.CARotation{Kind: "root", Step: step, Crossed: true, BegunBy: "one", Begun: timestamppb.New(time.Unix(1e9, 0)), Members: members, WaitsFor: []string{waits}}
}

func TestARotationIsWatchedUntilAPersonIsNeeded(t *testing.T) {
	there, moved := &admin.CAMember{Id: 1, Trusts: true}, &admin.CAMember{Id: 1, Trusts: true, Moved: true}
	last := step("issuing", "2 unexpired certificates hang", moved)
	last.Hanging = []*admin.CAHanging{{Name: "alice", Count: 2, NotAfter: timestamppb.New(time.Unix(1.5e9, 0))}}
	o := &caOffice{answers: []*admin.CAStatusResponse{
		authorityAt(step("prepared", "member 1 has not said", &admin.CAMember{Id: 1})),
		authorityAt(step("issuing", "member 1 has no certificate", there)),
		authorityAt(last),
	}}
	socket := o.open(t)
	code, stdout, stderr := cleatctl(t, "ca", "rotate", "--root", "--until", "issuing", "--socket", socket)
	if code != exitDone || o.rotated.GetAct() != "root" || o.rotated.GetUntil() != "issuing" {
		t.Fatalf("code %d, asked %v: %s", code, o.rotated, stderr)
	}
	if stderr != "cleatctl: issuing: 2 unexpired certificates hang\n" { // the members need nobody
		t.Errorf("told %q", stderr)
	}
	for _, want := range []string{
		"root: CN=root, until 2033-05-18T03:33:20Z, SHA-256 d1\n", "intermediate: CN=company, until 2033-05-18T03:33:20Z, SHA-256 d2, its key is elsewhere\n",
		"step: issuing (3 of 3)", "members: 1 of 1 accept both, 1 have", "hangs on what is dropped: alice, 2 certificates, until 2017-07-14T02:40:00Z\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not shown: %s", want, stdout)
		}
	}
	if code, stdout, _ := cleatctl(t, "ca", "status", "-w", "json", "--socket", socket); code != exitDone || !strings.Contains(stdout, `"step":"issuing"`) {
		t.Errorf("as JSON: code %d, %s", code, stdout)
	}
}

func TestARotationThatGoesOnIsLeftToItself(t *testing.T) {
	o := &caOffice{answers: []*admin.CAStatusResponse{authorityAt(step("prepared", "member 1 has not said", &admin.CAMember{Id: 1}))}}
	socket := o.open(t)
	if code, stdout, stderr := cleatctl(t, "ca", "rotate", "--intermediate", "--no-wait", "--socket", socket); code != exitDone || !strings.Contains(stdout, "step: prepared") {
		t.Errorf("not waited for: code %d, %s%s", code, stdout, stderr)
	}
	code, _, stderr := cleatctl(t, "ca", "rotate", "--continue", "--command-timeout", "300ms", "--socket", socket)
	if code != exitFailed || !strings.Contains(stderr, "goes on by itself (prepared)") {
		t.Errorf("given up: code %d, %s", code, stderr)
	}
	o.refuses = status.Error(codes.FailedPrecondition, "a rotation is under way")
	if code, _, stderr := cleatctl(t, "ca", "rotate", "--root", "--socket", socket); code != exitFailed || !strings.Contains(stderr, "a rotation is under way") {
		t.Errorf("refused: code %d, %s", code, stderr)
	}
}

func TestAnIntermediateIsAskedForAndImported(t *testing.T) {
	o := &caOffice{answers: []*admin.CAStatusResponse{authorityAt(nil)}}
	socket, dir := o.open(t), t.TempDir()
	code, stdout, stderr := cleatctl(t, "ca", "import", "--csr", "--socket", socket)
	if code != exitDone || stdout != "the request\n" {
		t.Errorf("code %d, %q: %s", code, stdout, stderr)
	}
	cert, key := filepath.Join(dir, "chain.pem"), filepath.Join(dir, "key.pem")
	for path, text := range map[string]string{cert: "chain", key: "key"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, stdout, stderr = cleatctl(t, "ca", "import", "--cert", cert, "--key", key, "--socket", socket)
	if code != exitDone || string(o.imported.GetCertificatesPem()) != "chain" || string(o.imported.GetKeyPem()) != "key" || !strings.Contains(stdout, "no rotation is under way") {
		t.Errorf("code %d, %v, %s%s", code, o.imported, stdout, stderr)
	}
}

func TestWhatMakesNoSenseOfTheCAIsNotSent(t *testing.T) {
	o := &caOffice{answers: []*admin.CAStatusResponse{authorityAt(nil)}}
	socket := o.open(t)
	for _, line := range [][]string{
		{"rotate"}, {"rotate", "--root", "--abort"}, {"rotate", "--root", "--force"}, {"rotate", "--abort", "--until", "issuing"},
		{"rotate", "--root", "--until", "soon"}, {"rotate", "--root", "more"}, {"status", "more"},
		{"import"}, {"import", "--csr", "--cert", "f"}, {"import", "--csr", "--key", "f"}, {"import", "--cert", "f", "--until", "x"},
	} {
		if code, _, stderr := cleatctl(t, append([]string{"ca"}, append(line, "--socket", socket)...)...); code != exitMisused {
			t.Errorf("%q: code %d, %s", line, code, stderr)
		}
	}
	if code, _, stderr := cleatctl(t, "ca", "import", "--cert", "/nowhere", "--socket", socket); code != exitFailed || !strings.Contains(stderr, "/nowhere") {
		t.Errorf("a file that is not there: code %d, %s", code, stderr)
	}
	if o.rotated != nil || o.imported != nil {
		t.Error("something was sent")
	}
}
