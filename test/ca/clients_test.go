// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cleatd/cleat/pki"
)

func TestClientsOfOthersAreServed(t *testing.T) {
	c := startTrio(t)
	t.Run("clients", func(t *testing.T) { // ends when all of them have
		t.Run("step", func(t *testing.T) { t.Parallel(); c.step(t) })
		t.Run("lego", func(t *testing.T) { t.Parallel(); c.lego(t) })
		t.Run("certbot", func(t *testing.T) { t.Parallel(); c.certbot(t) })
	})
}

// user is somebody with step, and a directory.
type user struct {
	t    *testing.T
	path string
	dir  string
}

func (u *user) try(args ...string) (string, error) {
	u.t.Helper()
	return run(u.t, []string{"STEPPATH=" + u.dir, "HOME=" + u.dir}, u.path, args...)
}

func (u *user) step(args ...string) string {
	u.t.Helper()
	text, err := u.try(args...)
	if err != nil {
		u.t.Fatal(err)
	}
	return text
}

func (u *user) file(name string) string { return filepath.Join(u.dir, name) }

// certificate is the first in a file.
func certificate(t testing.TB, file string) *x509.Certificate {
	t.Helper()
	leaf, err := firstOf(file)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func firstOf(file string) (*x509.Certificate, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New(file + " has no certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

func (c *trio) token(t testing.TB, p pki.Profile, name string) string {
	t.Helper()
	token, err := c.authority.MintOneTime(pki.OneTime{Profile: p, Name: name, Doors: []string{c.doors[1]}})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (c *trio) step(t *testing.T) {
	u := &user{t, built(t, ".build/step/step", "step"), t.TempDir()}
	root := sha256.Sum256(c.authority.Certificates()[0].Raw)
	u.step("ca", "bootstrap", "--ca-url=https://"+c.doors[0], "--fingerprint="+hex.EncodeToString(root[:]))
	if text := u.step("ca", "health"); strings.TrimSpace(text) != "ok" {
		t.Errorf("health: %s", text)
	}
	if text := u.step("ca", "provisioner", "list"); !strings.Contains(text, `"client"`) || !strings.Contains(text, `"acme"`) || strings.Contains(text, "encryptedKey") {
		t.Errorf("provisioner list: %s", text)
	}
	for _, what := range []string{"roots", "federation"} {
		u.step("ca", what, u.file(what))
		if !certificate(t, u.file(what)).Equal(c.authority.Certificates()[0].Certificate) {
			t.Errorf("%s are others", what)
		}
	}
	c.stepHolder(u, "alice", c.token(t, pki.Client, "alice"), x509.ExtKeyUsageClientAuth)
	bob := c.stepHolder(u, "bob", c.stepToken(u, pki.Client, "bob"), x509.ExtKeyUsageClientAuth)
	c.stepHolder(u, "web.example.org", c.token(t, pki.Server, "web.example.org"), x509.ExtKeyUsageServerAuth)
	c.typed(t)
	used := c.token(t, pki.Client, "alice")
	c.stepHolder(u, "alice", used, x509.ExtKeyUsageClientAuth)
	if text, err := u.try("ca", "certificate", "--token="+used, "alice", u.file("x"), u.file("x.key")); err == nil || !strings.Contains(text, "used up") {
		t.Errorf("a token that was used: %v %s", err, text)
	}

	for _, name := range []string{"alice", "web.example.org"} { // renewed at another member than they come from
		was := certificate(t, u.file(name))
		u.step("ca", "renew", "--force", "--ca-url=https://"+c.doors[2], u.file(name), u.file(name+".key"))
		u.changed(name, was)
		was = certificate(t, u.file(name))
		u.step("ca", "rekey", "--force", u.file(name), u.file(name+".key"))
		if now := u.changed(name, was); slices.Equal(now.RawSubjectPublicKeyInfo, was.RawSubjectPublicKeyInfo) {
			t.Errorf("%s has the same key", name)
		}
	}
	u.daemon("web.example.org")
	u.step("ca", "revoke", "--cert="+u.file("alice"), "--key="+u.file("alice.key"))
	u.step("ca", "revoke", "--token="+c.stepToken(u, pki.Client, bob.SerialNumber.String(), "--revoke"), bob.SerialNumber.String())
	for _, name := range []string{"alice", "bob"} {
		if text, err := u.try("ca", "renew", "--force", "--ca-url=https://"+c.doors[1], u.file(name), u.file(name+".key")); err == nil {
			t.Errorf("%s was renewed after it was revoked: %s", name, text)
		}
	}
}

// stepHolder has step get a certificate for a token.
func (c *trio) stepHolder(u *user, name, token string, usage x509.ExtKeyUsage) *x509.Certificate {
	u.t.Helper()
	u.step("ca", "certificate", "--force", "--token="+token, name, u.file(name), u.file(name+".key"))
	leaf := certificate(u.t, u.file(name))
	if leaf.Subject.CommonName != name || !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{usage}) {
		u.t.Errorf("%s: got %s %v", name, leaf.Subject, leaf.ExtKeyUsage)
	}
	return leaf
}

// typed has somebody without anything type the line that an administrator gave.
func (c *trio) typed(t *testing.T) {
	t.Helper()
	u := &user{t, built(t, ".build/step/step", "step"), t.TempDir()}
	line := strings.Fields(ctl(t, c.first, "token", "step", "--server=api.example.org,10.0.0.7"))
	line[len(line)-2], line[len(line)-1] = u.file("crt"), u.file("key")
	u.step(line[1:]...)
	if leaf := certificate(t, u.file("crt")); leaf.VerifyHostname("api.example.org") != nil || leaf.VerifyHostname("10.0.0.7") != nil {
		t.Errorf("got %v %v", leaf.DNSNames, leaf.IPAddresses)
	}
}

// stepToken has step make a token, with the provisioner's key.
func (c *trio) stepToken(u *user, p pki.Profile, subject string, more ...string) string {
	u.t.Helper()
	key, err := c.authority.TokenKey(p)
	if err != nil {
		u.t.Fatal(err)
	}
	raw, err := json.Marshal(key)
	if err != nil {
		u.t.Fatal(err)
	}
	if err := os.WriteFile(u.file("provisioner.json"), raw, 0o600); err != nil {
		u.t.Fatal(err)
	}
	args := append([]string{"ca", "token", "--issuer=" + string(p), "--key=" + u.file("provisioner.json"), "--output-file=" + u.file("token"), "--force"}, more...)
	u.step(append(args, subject)...)
	text, err := os.ReadFile(u.file("token"))
	if err != nil {
		u.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// changed looks whether a file has a successor of the certificate.
func (u *user) changed(name string, was *x509.Certificate) *x509.Certificate {
	u.t.Helper()
	now := certificate(u.t, u.file(name))
	if now.Equal(was) || now.Subject.String() != was.Subject.String() || !slices.Equal(now.ExtKeyUsage, was.ExtKeyUsage) || !slices.Equal(now.DNSNames, was.DNSNames) {
		u.t.Errorf("%s: got %s %v %v", name, now.Subject, now.ExtKeyUsage, now.DNSNames)
	}
	return now
}

// daemon has step renew a certificate by itself until it has done so once.
func (u *user) daemon(name string) {
	u.t.Helper()
	was := certificate(u.t, u.file(name))
	p := exec.Command(u.path, "ca", "renew", "--daemon", "--renew-period=1s", u.file(name), u.file(name+".key"))
	p.Env = append(os.Environ(), "STEPPATH="+u.dir, "HOME="+u.dir)
	said := new(output)
	p.Stdout, p.Stderr = said, said
	if err := p.Start(); err != nil {
		u.t.Fatal(err)
	}
	eventually(u.t, "step renews by itself", func() error {
		now, err := firstOf(u.file(name))
		if err == nil && now.Equal(was) {
			err = errors.New("not yet: " + said.String())
		}
		return err
	})
	_ = p.Process.Kill() // it ends no other way
	_ = p.Wait()
}

func (c *trio) lego(t *testing.T) {
	path, dir, name := installed(t, "lego"), t.TempDir(), "lego.example.internal"
	lego := func(command string, more ...string) {
		t.Helper()
		args := append([]string{"--accept-tos", "--email=ops@example.org", "--server=https://" + c.all + "/acme/acme/directory",
			"--domains=" + name, "--http", "--http.port=" + names[name] + ":80", "--path=" + dir, command}, more...)
		if _, err := run(t, []string{"LEGO_CA_CERTIFICATES=" + c.root}, path, args...); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "certificates", name+".crt")
	lego("run")
	first := c.serves(t, file, name)
	lego("renew", "--days=366", "--no-random-sleep")
	if next := c.serves(t, file, name); next.Equal(first) {
		t.Error("it was not renewed")
	}
	lego("revoke")
}

func (c *trio) certbot(t *testing.T) {
	path, dir, name := installed(t, "certbot"), t.TempDir(), "certbot.example.internal"
	certbot := func(args ...string) {
		t.Helper()
		args = append(args, "--non-interactive", "--config-dir="+dir, "--work-dir="+dir, "--logs-dir="+dir)
		if _, err := run(t, []string{"REQUESTS_CA_BUNDLE=" + c.root}, path, args...); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "live", name, "fullchain.pem")
	certbot("certonly", "--standalone", "--http-01-address="+names[name], "--server=https://"+c.all+"/acme/acme/directory",
		"--domain="+name, "--agree-tos", "--email=ops@example.org")
	first := c.serves(t, file, name)
	certbot("renew", "--force-renewal", "--no-random-sleep-on-renew")
	if next := c.serves(t, file, name); next.Equal(first) {
		t.Error("it was not renewed")
	}
	certbot("revoke", "--cert-name="+name, "--no-delete-after-revoke")
}

// serves looks whether a server can be trusted with what is in the file.
func (c *trio) serves(t *testing.T, file, name string) *x509.Certificate {
	t.Helper()
	leaf := certificate(t, file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(c.authority.Bundle())
	between.AppendCertsFromPEM(text)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: name}); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return leaf
}
