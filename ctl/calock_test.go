// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/pki/export"
)

const plainKey = "-----BEGIN CLEAT CLUSTER KEY-----\nAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n-----END CLEAT CLUSTER KEY-----\n"

// strongroom answers as the part of a member's Admin service that has the
// cluster key.
type strongroom struct {
	office
	confirmed string
	unlocked  string
	locked    *admin.LockCARequest
	rotated   *admin.RotateClusterKeyRequest
	missing   []uint64
	fail      error
}

func (s *strongroom) ExportClusterKey(context.Context, *admin.ExportClusterKeyRequest) (*admin.ExportClusterKeyResponse, error) {
	return &admin.ExportClusterKeyResponse{Keys: []byte(plainKey), Id: "0011223344556677"}, s.fail
}

func (s *strongroom) ConfirmExport(_ context.Context, r *admin.ConfirmExportRequest) (*admin.ConfirmExportResponse, error) {
	s.confirmed = r.GetId()
	return new(admin.ConfirmExportResponse), s.fail
}

func (s *strongroom) UnlockCA(_ context.Context, r *admin.UnlockCARequest) (*admin.UnlockCAResponse, error) {
	s.unlocked = string(r.GetKeys())
	return &admin.UnlockCAResponse{Id: "0011223344556677"}, s.fail
}

func (s *strongroom) LockCA(_ context.Context, r *admin.LockCARequest) (*admin.LockCAResponse, error) {
	s.locked = r
	return new(admin.LockCAResponse), s.fail
}

func (s *strongroom) RotateClusterKey(_ context.Context, r *admin.RotateClusterKeyRequest) (*admin.RotateClusterKeyResponse, error) {
	s.rotated = r
	return &admin.RotateClusterKeyResponse{Old: "old", New: "new", Missing: s.missing}, s.fail
}

func phrase(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "phrase")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAnExportedKeyUnlocksAMember(t *testing.T) {
	s := new(strongroom)
	socket, file, pass := s.serve(t, s), filepath.Join(t.TempDir(), "key.age"), phrase(t, "six words that nobody else knows\nmore")
	code, stdout, stderr := cleatctl(t, "ca", "key", "export", file, "--passphrase-file", pass, "--socket", socket)
	if code != exitDone || s.confirmed != "0011223344556677" || !strings.Contains(stdout, file) {
		t.Fatalf("exit code %d, confirmed %q: %s%s", code, s.confirmed, stdout, stderr)
	}
	text, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(text), "AQEBAQEB") || !export.Is(text) {
		t.Fatalf("%q, %v", text, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	s.confirmed = ""
	if code, _, stderr := cleatctl(t, "ca", "key", "export", file, "--passphrase-file", pass, "--socket", socket); code != exitFailed || s.confirmed != "" || !strings.Contains(stderr, "is there already") {
		t.Errorf("over a file that is there: %d, %s", code, stderr)
	}
	code, stdout, stderr = cleatctl(t, "ca", "unlock", file, "--passphrase-file", pass, "--socket", socket)
	if code != exitDone || s.unlocked != plainKey || strings.Contains(stdout+stderr, "AQEB") {
		t.Errorf("exit code %d, unlocked with %q: %s%s", code, s.unlocked, stdout, stderr)
	}
	if code, _, stderr := cleatctl(t, "ca", "unlock", file, "--passphrase-file", phrase(t, "six words that somebody guessed"), "--socket", socket); code != exitFailed || !strings.Contains(stderr, "passphrase is wrong") {
		t.Errorf("with a wrong passphrase: %d, %s", code, stderr)
	}
	if code, stdout, stderr := cleatctl(t, "ca", "key", "decrypt", file, "--passphrase-file", pass); code != exitDone || stdout != plainKey {
		t.Errorf("decrypted: %d, %q, %s", code, stdout, stderr)
	}
	if code, _, stderr := cleatctl(t, "ca", "unlock", pass, "--socket", socket); code != exitFailed || !strings.Contains(stderr, "ca key export") {
		t.Errorf("with some other file: %d, %s", code, stderr)
	}
	if code, _, _ := cleatctl(t, "ca", "unlock", "--socket", socket); code != exitDone || s.unlocked != "" {
		t.Errorf("without a file: %d, %q", code, s.unlocked)
	}
}

func TestNothingIsExportedUnderAWeakPassphrase(t *testing.T) {
	s := new(strongroom)
	socket, file := s.serve(t, s), filepath.Join(t.TempDir(), "key.age")
	for _, weak := range []string{"short\n", "\n", ""} {
		code, _, stderr := cleatctl(t, "ca", "key", "export", file, "--passphrase-file", phrase(t, weak), "--socket", socket)
		if _, err := os.Stat(file); code == exitDone || err == nil || s.confirmed != "" {
			t.Errorf("%q: exit code %d, %v, %s", weak, code, err, stderr)
		}
	}
}

func TestALockAsksBeforeItRemovesTheKey(t *testing.T) {
	s := new(strongroom)
	socket := s.serve(t, s)
	if code, _, stderr := cleatctl(t, "ca", "lock", "--remove-file", "--socket", socket); code != exitMisused || s.locked != nil || !strings.Contains(stderr, "--yes") {
		t.Errorf("without a terminal: %d, %s", code, stderr)
	}
	for _, remove := range []bool{false, true} {
		args := []string{"ca", "lock", "--socket", socket}
		if remove {
			args = append(args, "--remove-file", "--yes")
		}
		if code, stdout, stderr := cleatctl(t, args...); code != exitDone || s.locked.GetRemoveFile() != remove || !strings.Contains(stdout, "issues nothing") {
			t.Errorf("%v: %d, %s%s", args, code, stdout, stderr)
		}
	}
	s.fail = status.Error(codes.FailedPrecondition, "pki: the cluster key is not removed: it is the only one")
	if code, _, stderr := cleatctl(t, "ca", "lock", "--socket", socket); code != exitFailed || !strings.Contains(stderr, "the only one") {
		t.Errorf("refused: %d, %s", code, stderr)
	}
}

func TestARotationOfTheKeySaysWhoLacksIt(t *testing.T) {
	s := &strongroom{missing: []uint64{0xabc}}
	socket := s.serve(t, s)
	code, stdout, stderr := cleatctl(t, "ca", "key", "rotate", "--wait", "3s", "--socket", socket)
	if code != exitDone || s.rotated.GetPatienceSeconds() != 3 || !strings.Contains(stdout, "abc") || !strings.Contains(stdout, "export") {
		t.Errorf("%d, %s%s", code, stdout, stderr)
	}
	if code, stdout, _ := cleatctl(t, "ca", "key", "rotate", "-w", "json", "--socket", socket); code != exitDone || !strings.Contains(stdout, `"missing":["abc"]`) {
		t.Errorf("%d, %s", code, stdout)
	}
	if code, _, _ := cleatctl(t, "ca", "key", "rotate", "--wait", "0s", "--socket", socket); code != exitMisused {
		t.Errorf("without patience: %d", code)
	}
}

func TestStatusTellsOfTheClusterKey(t *testing.T) {
	member := &admin.StatusResponse{Name: "one", MemberId: 1, Raft: &admin.Raft{Leader: 1}, Space: &admin.Space{Ok: true, Free: 10}}
	for want, key := range map[string]*admin.ClusterKey{
		"cluster key   k1, on the disk, never exported\n":                                                     {Id: "k1"},
		"cluster key   k1, from systemd, exported; it has replaced k0, not yet at one (1)\n":                  {Id: "k1", Credential: true, Exported: true, Previous: "k0", Waiting: []uint64{1}},
		"the CA is locked at one (1), which issues and renews nothing: the reason: there, cleatctl ca unlock": {Id: "k1", Locked: "pki: the reason"},
		"has an old cluster key, by which it opens the new one":                                               {Id: "k1", Credential: true, Stale: true},
		"k2 is to replace it": {Id: "k1", Next: "k2"},
		"one (1) has the cluster key from systemd, and it lies": {Id: "k1", Credential: true, Plain: true},
	} {
		own := &admin.StatusResponse{ClusterKey: key, Space: member.Space, Raft: member.Raft}
		member.ClusterKey, member.Members = key, []*admin.MemberStatus{{Id: 1, Name: "one", Status: own}}
		o := &office{status: member}
		_, stdout, stderr := cleatctl(t, "status", "--socket", o.open(t))
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s%s", want, stdout, stderr)
		}
	}
}
