// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A client's laptop is lost: what an administrator types, and what everybody sees.
func TestALostClientIsShutOut(t *testing.T) {
	m := startCleatd(t)
	files := m.issue(t)
	over := append([]string{"--endpoints=" + m.client, "--command-timeout=5s"}, files...)
	if out, err := exec.Command(program(t, cleatctl), append(over, "put", "k", "v")...).CombinedOutput(); err != nil {
		t.Fatalf("before: %v: %s", err, out)
	}
	crt := strings.TrimPrefix(files[1], "--cert=")
	if shown := m.must(t, "cert show "+crt); !strings.Contains(shown, "name: alice\nprofile: client\n") || !strings.Contains(shown, "state: good\n") {
		t.Errorf("cert show: %s", shown)
	}
	if done := m.must(t, "cert revoke alice --reason key-compromise"); !strings.Contains(done, ", alice, client, , ") || !strings.Contains(done, "(key-compromise)") {
		t.Errorf("cert revoke: %s", done)
	}
	out, err := exec.Command(program(t, cleatctl), append(over, "get", "k")...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "the member refuses the certificate") {
		t.Errorf("after: %v: %s", err, out)
	}
	if shown := m.must(t, "cert show "+crt); !strings.Contains(shown, "state: revoked ") {
		t.Errorf("cert show: %s", shown)
	}
	if _, stderr, ok := m.ctl(t, "cert revoke nobody"); ok || !strings.Contains(stderr, "cert list shows them") {
		t.Errorf("cert revoke of nobody: %s", stderr)
	}
	eventually(t, "the audit has it all", func() error {
		told := m.must(t, "audit")
		for _, want := range []string{"issue: certificate issued name=alice", "revoke: certificate revoked name=alice", "refuse: connection refused door=client reason=revoked remote=127.0.0.1:"} {
			if !strings.Contains(told, want) {
				return fmt.Errorf("no %q in\n%s", want, told)
			}
		}
		return nil
	})

	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed: apt-get install openssl")
	}
	dir := t.TempDir()
	crl, issuers := filepath.Join(dir, "crl.pem"), filepath.Join(dir, "issuers.pem")
	var chain []byte // the intermediate, from behind the leaf, and the root
	for _, path := range []string{crt, strings.TrimPrefix(files[0], "--cacert=")} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, text...)
	}
	if err := os.WriteFile(issuers, chain, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "openssl finds alice on the list", func() error {
		m.must(t, "cert crl --out "+crl)
		out, err := exec.Command(openssl, "crl", "-in", crl, "-verify", "-CAfile", issuers, "-noout", "-text").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "verify OK") || !strings.Contains(string(out), "Key Compromise") {
			return fmt.Errorf("%v: %s", err, out)
		}
		return nil
	})
}
