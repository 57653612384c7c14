// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestABundleIsForItsOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "alice")
	files := newBundle(dir, "alice")
	if err := files.absent(); err != nil {
		t.Fatal(err)
	}
	if err := files.write([]byte("key"), []byte("chain"), []byte("roots"), false); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{files.key: "key", files.cert: "chain", files.ca: "roots"} {
		content, err := os.ReadFile(path)
		if err != nil || string(content) != want {
			t.Errorf("%s: got %q, %v", path, content, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got %v, %v", path, info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%s: got %v, %v", dir, info.Mode(), err)
	}
}

func TestNothingIsReplacedUnlessForced(t *testing.T) {
	dir := t.TempDir()
	alice, bob := newBundle(dir, "alice"), newBundle(dir, "bob")
	if err := alice.write([]byte("key"), []byte("chain"), []byte("roots"), false); err != nil {
		t.Fatal(err)
	}
	if err := alice.absent(); err == nil || !strings.Contains(err.Error(), "alice.crt is there already") {
		t.Errorf("alice again: got %v", err)
	}
	if err := bob.write([]byte("key"), []byte("chain"), []byte("roots"), false); err != nil {
		t.Errorf("bob beside alice: %v", err)
	}
	if err := bob.write([]byte("key"), []byte("chain"), []byte("others"), false); err == nil || !strings.Contains(err.Error(), "ca.crt is another bundle") {
		t.Errorf("bob of another cluster: got %v", err)
	}
	if err := bob.write([]byte("key"), []byte("chain"), []byte("others"), true); err != nil {
		t.Errorf("forced: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".cleatctl-*")); len(left) > 0 {
		t.Errorf("left behind: %s", left)
	}
}

func TestASigningRequestProvesItsKey(t *testing.T) {
	request, key, err := signingRequest("alice")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificateRequest(request)
	if err != nil || parsed.CheckSignature() != nil || parsed.Subject.CommonName != "alice" {
		t.Fatalf("got %+v, %v", parsed.Subject, err)
	}
	block, _ := pem.Decode(key)
	if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		t.Fatal(err)
	}
}
