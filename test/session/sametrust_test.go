// SPDX-License-Identifier: Apache-2.0

package session

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// flags are tried with both clients, and end alike.
func alike(t *testing.T, endpoint string, lines map[string]bool) {
	t.Helper()
	for line, works := range lines {
		for _, client := range []string{cleatctl, etcdctl} {
			limit := "--command-timeout=20s"
			if !works {
				limit = "--command-timeout=1s" // which etcdctl waits for
			}
			args := slices.Concat(strings.Fields(line), []string{"get", "k", "--print-value-only", "--dial-timeout=10s", limit})
			got := (&side{path: program(t, client), endpoint: endpoint}).ran(t, args...)
			if want := "value\n(0)"; (got == want) != works {
				t.Errorf("%s %s prints %q", filepath.Base(client), line, got)
			}
		}
	}
}

func TestFlagsOfTrustMeanTheSame(t *testing.T) {
	t.Parallel()
	m := startCleatd(t)
	(&side{path: program(t, cleatctl), endpoint: "unix://" + m.socket}).ran(t, "put", "k", "value")
	files := m.issue(t)
	ca, pair := files[0], strings.Join(files[1:], " ")
	alike(t, "https://"+m.client, map[string]bool{
		ca + " " + pair:                      true,
		pair:                                 false, // the system does not know the CA
		pair + " --insecure-skip-tls-verify": true,
		"--insecure-skip-tls-verify":         false, // who asks must be known all the same
		ca + " " + pair + " --insecure-transport=false --insecure-discovery": true,
	})
	alike(t, m.client, map[string]bool{ // without a scheme
		ca + " " + pair: true,
		ca + " " + pair + " --insecure-transport":                       true,
		pair + " --insecure-transport=false --insecure-skip-tls-verify": true,
	})
}

// A JWT stands for a name and a password.
func TestATokenIsTakenForAUser(t *testing.T) {
	t.Parallel()
	public, private := jwtKeys(t)
	m := startCleatd(t, "--bcrypt-cost=4", "--auth-token=jwt,sign-method=EdDSA,pub-key="+public+",priv-key="+private)
	at := &side{path: program(t, cleatctl), endpoint: "unix://" + m.socket}
	for _, line := range []string{"put k value", "user add root:root", "user add alice:word", "role add all", "role grant-permission all readwrite k", "user grant-role alice all", "auth enable"} {
		at.ran(t, strings.Fields(line)...)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{at.endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	reply, err := client.Authenticate(t.Context(), "alice", "word")
	if err != nil {
		t.Fatal(err)
	}
	alike(t, at.endpoint, map[string]bool{
		"--auth-jwt-token=" + reply.Token:                     true,
		"--auth-jwt-token " + reply.Token + " --user=no:word": true, // the token is what counts
		"--user=no:word": false,
		"--auth-jwt-token=" + reply.Token[:len(reply.Token)-4] + "AAAA": false,
	})
}

func jwtKeys(t *testing.T) (public, private string) {
	t.Helper()
	one, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	der, err := x509.MarshalPKIXPublicKey(one)
	public = write("public", "PUBLIC KEY", der, err)
	der, err = x509.MarshalPKCS8PrivateKey(other)
	return public, write("private", "PRIVATE KEY", der, err)
}
