// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cleatd/cleat/client"
)

// makeContext writes a context below the test's own configuration directory, as
// cleatctl login does; its certificate ends after life.
func makeContext(t *testing.T, name, user string, life time.Duration, endpoints ...string) (dir string) {
	t.Helper()
	dir, err := client.ContextDir(name)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(77), Subject: pkix.Name{CommonName: user},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	about, err := json.Marshal(map[string]any{"format": 1, "door": "127.0.0.1:1", "endpoints": endpoints, "serial": "77", "issued": time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	for file, content := range map[string][]byte{
		"client.pem": append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), chain...), "ca.crt": chain, "bundle.json": about,
	} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// ownContexts gives the test a configuration directory of its own.
func ownContexts(t *testing.T) {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
}

func TestAContextGivesWhatNoFlagNamesMoreStrongly(t *testing.T) {
	ownContexts(t)
	prod := makeContext(t, "prod", "alice", time.Hour, "https://prod:2379")
	lab := makeContext(t, "lab", "bob", time.Hour, "https://lab:2379", "https://lab2:2379")
	if err := client.UseContext("lab"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name        string
		environment []string
		line        []string
		endpoints   string // or the socket
		files       string // "" for none
	}{
		{"the current one", nil, nil, "https://lab:2379 https://lab2:2379", lab},
		{"another on the line", nil, []string{"--context", "prod"}, "https://prod:2379", prod},
		{"another in the environment", []string{"CLEATCTL_CONTEXT=prod"}, nil, "https://prod:2379", prod},
		{"the line before the environment", []string{"CLEATCTL_CONTEXT=prod"}, []string{"--context=lab"}, "https://lab:2379 https://lab2:2379", lab},
		{"a bundle's directory", nil, []string{"--context", prod}, "https://prod:2379", prod},
		{"a socket on the line", nil, []string{"--socket=/s"}, "unix:///s", ""},
		{"a socket in the environment", []string{"CLEATCTL_SOCKET=/s"}, nil, "unix:///s", ""},
		{"a context on the line before a socket", []string{"CLEATCTL_SOCKET=/s"}, []string{"--context=prod"}, "https://prod:2379", prod},
		{"a socket on the line before a context", []string{"CLEATCTL_CONTEXT=prod"}, []string{"--socket=/s"}, "unix:///s", ""},
		{"etcd's endpoints are not the current context's", []string{"ETCDCTL_ENDPOINTS=e:1"}, nil, "e:1", ""},
		{"endpoints on the line are not the current context's", nil, []string{"--endpoints=e:1"}, "e:1", ""},
		{"endpoints beside a context", nil, []string{"--context=prod", "--endpoints=e:1"}, "e:1", prod},
		{"endpoints before a weaker context", []string{"CLEATCTL_CONTEXT=prod"}, []string{"--endpoints=e:1"}, "e:1", prod},
		{"a context before weaker endpoints", []string{"CLEATCTL_ENDPOINTS=e:1"}, []string{"--context=prod"}, "https://prod:2379", prod},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, each := range c.environment {
				name, value, _ := strings.Cut(each, "=")
				t.Setenv(name, value)
			}
			way, err := choose(t, c.line...)
			want := client.Config{}
			if c.files != "" {
				want = client.Config{CACert: c.files + "/ca.crt", Cert: c.files + "/client.pem", Key: c.files + "/client.pem"}
			}
			if err != nil || strings.Join(way.endpoints, " ") != c.endpoints || way.files != want {
				t.Errorf("got %+v, %v", way, err)
			}
		})
	}
	for _, line := range [][]string{{"--context=prod", "--socket=/s"}, {"--context=a b"}} {
		if way, err := choose(t, line...); !errors.As(err, new(usageError)) {
			t.Errorf("%q: got %+v, %v, want misuse", line, way, err)
		}
	}
}

func TestFilesThatAreNamedCountInsteadOfTheContexts(t *testing.T) {
	ownContexts(t)
	dir := makeContext(t, "prod", "alice", -time.Minute, "https://prod:2379") // which nobody asks for its certificate
	way, err := choose(t, "--context=prod", "--cert=c", "--key=k")
	if want := (client.Config{CACert: dir + "/ca.crt", Cert: "c", Key: "k"}); err != nil || way.files != want {
		t.Errorf("cert and key: %+v, %v", way.files, err)
	}
	t.Setenv("ETCDCTL_CACERT", "weaker")
	if way, err = choose(t, "--context=prod", "--cert=c", "--key=k"); err != nil || way.files.CACert != dir+"/ca.crt" {
		t.Errorf("a weaker bundle of roots: %+v, %v", way.files, err)
	}
}

func TestWhatIsWrongWithAContextIsToldBeforeAnythingIsSent(t *testing.T) {
	ownContexts(t)
	makeContext(t, "old", "alice", -time.Minute, "https://prod:2379")
	broken := makeContext(t, "broken", "bob", time.Hour)
	if err := os.Remove(filepath.Join(broken, "client.pem")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line string
		code int
		want string
	}{
		{"get a --context none", exitFailed, `no such context: "none"`},
		{"get a --context a:b", exitMisused, "not a name for a context"},
		{"get a --context old", exitFailed, "the certificate of context old, user alice, ended at"},
		{"get a --context broken", exitFailed, "open context broken: not a client's bundle"},
		{"invite --context old", exitMisused, "speaks to the socket only: run it on a member, without --context"},
		{"context use none", exitFailed, "cleatctl context list shows"},
		{"context use", exitMisused, "needs NAME"},
		{"context list x", exitMisused, "takes no argument"},
		{"context show", exitFailed, "no context is the current one"},
		{"context show a b", exitMisused, "takes one NAME"},
		{"logout", exitFailed, "no context is the current one"},
		{"logout x", exitMisused, "takes no argument"},
		{"renew", exitFailed, "no context is the current one"},
		{"renew --all --context old", exitMisused, "exclude each other"},
		{"renew --daemon --force", exitMisused, "exclude each other"},
		{"renew --context old", exitFailed, "the certificate has expired: that of \"alice\""},
	} {
		code, stdout, stderr := cleatctl(t, strings.Fields(c.line)...)
		if code != c.code || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, c.want) || strings.Contains(stderr, "client: ") {
			t.Errorf("%s: exit code %d, %q, %q, want %q", c.line, code, stdout, stderr, c.want)
		}
	}
}

func TestContextsAreListedUsedShownAndForgotten(t *testing.T) {
	ownContexts(t)
	if code, stdout, stderr := cleatctl(t, "context", "list"); code != exitDone || stdout != "" || stderr != "" {
		t.Errorf("none: %d %q %q", code, stdout, stderr)
	}
	dir := makeContext(t, "prod", "alice", time.Hour, "https://a:1", "https://b:2")
	makeContext(t, "old", "bob", -time.Minute, "https://c:3")
	if code, stdout, stderr := cleatctl(t, "context", "use", "prod"); code != exitDone || stdout != "Context prod is the current one\n" {
		t.Fatalf("%d %q %q", code, stdout, stderr)
	}
	if _, stdout, _ := cleatctl(t, "context", "list"); !strings.Contains(stdout, "old, , bob, https://c:3, expired at ") || !strings.Contains(stdout, "prod, current, alice, https://a:1 https://b:2, 2") {
		t.Errorf("listed:\n%s", stdout)
	}
	if _, stdout, _ := cleatctl(t, "context", "list", "-w", "table"); strings.Count(stdout, "\n") != 6 {
		t.Errorf("table:\n%s", stdout)
	}
	_, stdout, _ := cleatctl(t, "context", "show", "-w", "json")
	var row contextRow
	if err := json.Unmarshal([]byte(stdout), &row); err != nil || row.Name != "prod" || row.User != "alice" || row.Serial != "77" || row.Dir != dir || !row.Current {
		t.Errorf("%v: %s", err, stdout)
	}
	if _, stdout, _ := cleatctl(t, "context", "show", "old"); !strings.Contains(stdout, "user:       bob\n") || !strings.Contains(stdout, "current:    false\n") {
		t.Errorf("shown:\n%s", stdout)
	}
	code, stdout, stderr := cleatctl(t, "logout")
	if code != exitDone || stdout != "Context prod forgotten\n" || !strings.Contains(stderr, "serial 77 of user alice, is good until") {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory: %v", err)
	}
	if _, err := client.Load(""); !errors.Is(err, client.ErrNoContext) {
		t.Errorf("the current context: %v", err)
	}
	if code, stdout, stderr := cleatctl(t, "logout", "--context", "old"); code != exitDone || stdout != "Context old forgotten\n" || stderr != "" {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
}

func TestALongDueCertificateIsToldOf(t *testing.T) {
	ownContexts(t)
	dir := makeContext(t, "prod", "alice", 2*time.Minute, "https://127.0.0.1:1")
	line := []string{"get", "a", "--context=prod", "--dial-timeout=100ms"}
	if code, _, stderr := cleatctl(t, line...); code != exitFailed || strings.Contains(stderr, "long due") {
		t.Errorf("just issued: %d %q", code, stderr)
	}
	// Of whom nothing is known but that it is good from an hour ago on, two of its
	// 62 minutes are left.
	about := `{"format":1,"door":"127.0.0.1:1","endpoints":["https://127.0.0.1:1"]}`
	if err := os.WriteFile(filepath.Join(dir, "bundle.json"), []byte(about), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := cleatctl(t, line...); code != exitFailed || !strings.Contains(stderr, "is long due: cleatctl renew does it now") {
		t.Errorf("two minutes before its end: %d %q", code, stderr)
	}
}
