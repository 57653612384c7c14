// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/smallstep/certificates/authority/provisioner"
)

// testConfig is a member of its own; tests change what they are about.
func testConfig(t testing.TB) Config {
	t.Helper()
	return Config{
		Dir:       filepath.Join(t.TempDir(), "pki"),
		ClusterID: 0xc1ea7,
		MemberID:  0x1,
		Name:      "green",
		Ledger:    newLedger(),
		Logger:    slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

func open(t testing.TB, c Config) *Authority {
	t.Helper()
	a, err := Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func request(t testing.TB, key any, template x509.CertificateRequest) *x509.CertificateRequest {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

func named(name string) x509.CertificateRequest {
	return x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}
}

// issue returns a pair that a client can dial with.
func issue(t testing.TB, a *Authority, p Profile, template x509.CertificateRequest) tls.Certificate {
	t.Helper()
	key := newKey(t)
	chain, err := a.Issue(context.Background(), request(t, key, template), p, 0)
	if err != nil {
		t.Fatal(err)
	}
	return newIdentity(key, chain).certificate
}

func leafOf(a *Authority) *x509.Certificate { return a.current.Load().certificate.Leaf }

func TestTheFirstStartMakesACAAndTheMembersCertificate(t *testing.T) {
	c := testConfig(t)
	c.Hosts = []string{"10.1.2.3", "green.example.org", "green", "[fe80::1]"}
	a := open(t, c)

	root, middle, leaf := a.ca().root, a.ca().intermediate, leafOf(a)
	if !root.IsCA || root.MaxPathLen != -1 || root.MaxPathLenZero {
		t.Errorf("root: path length %d, want none", root.MaxPathLen)
	}
	if !middle.IsCA || middle.MaxPathLen != 0 || !middle.MaxPathLenZero {
		t.Errorf("intermediate: path length %d, want 0", middle.MaxPathLen)
	}
	for _, ca := range []*x509.Certificate{root, middle} {
		if years := time.Until(ca.NotAfter).Hours() / 24 / 365; years < 9.99 || years > 10.01 {
			t.Errorf("%s lives %.2f years, want 10", ca.Subject, years)
		}
	}
	if leaf.IsCA || leaf.PublicKey.(*ecdsa.PublicKey).Curve != elliptic.P256() {
		t.Error("the member's certificate must be a P-256 leaf")
	}
	if want := "spiffe://00000000000c1ea7/member/0000000000000001"; len(leaf.URIs) != 1 || leaf.URIs[0].String() != want {
		t.Errorf("URIs %v, want %s", leaf.URIs, want)
	}
	for _, host := range []string{"green", "localhost", "127.0.0.1", "::1", "10.1.2.3", "green.example.org", "fe80::1"} {
		if err := leaf.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if err := a.verify(leaf, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth); err != nil {
		t.Error(err)
	}
	if left := time.Until(leaf.NotAfter); left < DefaultMemberTTL-time.Minute || left > DefaultMemberTTL+time.Second {
		t.Errorf("the member's certificate has %v left, want %v", left, DefaultMemberTTL)
	}
}

func TestFilesAreForTheOwnerOnly(t *testing.T) {
	c := testConfig(t)
	open(t, c)
	want := map[string]os.FileMode{".": 0o700 | os.ModeDir, clusterKeyFile: 0o600, identityFile: 0o600, caFile: 0o600}
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 3 {
		t.Errorf("left in the directory: %v, want the cluster key, the CA and the identity", entries)
	}
	for name, mode := range want {
		info, err := os.Stat(filepath.Join(c.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != mode {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), mode)
		}
	}
}

func TestASecondStartKeepsEverything(t *testing.T) {
	c := testConfig(t)
	first := open(t, c)
	calls := c.Ledger.(*memoryLedger).calls
	second := open(t, c)
	if !leafOf(second).Equal(leafOf(first)) || !second.ca().root.Equal(first.ca().root) {
		t.Error("the second start made new certificates")
	}
	if n := c.Ledger.(*memoryLedger).calls - calls; n != 1 {
		t.Errorf("the second start called the ledger %d times, want once", n)
	}
}

// A crash is a failing call after which nothing more is done. Whatever call it
// is, and whether or not the call took effect, the next start goes on.
func TestAFirstStartThatBreaksOffAnywhereIsContinued(t *testing.T) {
	for _, after := range []bool{false, true} {
		for at := 1; ; at++ {
			c := testConfig(t)
			ledger := c.Ledger.(*memoryLedger)
			ledger.failAt, ledger.failAfter = at, after
			_, err := Open(t.Context(), c)
			if err == nil {
				if at < 4 {
					t.Fatalf("the first start made only %d calls to the ledger", at-1)
				}
				break
			}
			if !errors.Is(err, errLedger) {
				t.Fatalf("call %d: %v", at, err)
			}
			a := open(t, c)
			if n := ledger.count(t, caBucket); n != 1 {
				t.Errorf("call %d: %d CAs in the ledger", at, n)
			}
			if err := a.checkIdentity(leafOf(a)); err != nil {
				t.Errorf("call %d: %v", at, err)
			}
		}
	}
}

func TestAFirstStartThatBreaksOffWhileWritingAFileIsContinued(t *testing.T) {
	for _, name := range []string{clusterKeyFile, caFile, identityFile} {
		t.Run(name+" cannot be written", func(t *testing.T) {
			c := testConfig(t)
			if err := os.MkdirAll(filepath.Join(c.Dir, name+".tmp"), 0o700); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(t.Context(), c); err == nil {
				t.Fatal("opened although a file could not be written")
			}
			open(t, c)
		})
		t.Run(name+" was half written", func(t *testing.T) {
			c := testConfig(t)
			if err := os.MkdirAll(c.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
			half := filepath.Join(c.Dir, name+".tmp")
			if err := os.WriteFile(half, []byte("-----BEGIN CLEAT CLUS"), 0o644); err != nil {
				t.Fatal(err)
			}
			open(t, c)
			if _, err := os.Stat(half); !os.IsNotExist(err) {
				t.Errorf("%s is still there (%v)", half, err)
			}
		})
	}
}

func TestNoCAIsCommittedBeforeTheClusterKeyIsOnDisk(t *testing.T) {
	c := testConfig(t)
	if err := os.MkdirAll(filepath.Join(c.Dir, clusterKeyFile+".tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), c); err == nil {
		t.Fatal("opened without a cluster key")
	}
	if n := c.Ledger.(*memoryLedger).count(t, caBucket); n != 0 {
		t.Error("the ledger has a CA that nobody can open")
	}
}

func TestTheLoserOfARaceForTheCATakesTheWinners(t *testing.T) {
	c := testConfig(t)
	winner := open(t, c)
	// The loser has seen an empty ledger, and holds the winner's cluster key.
	c.vault = winner.vault
	raw, err := createCA(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	record, err := decodeCA(raw)
	if err != nil || !bytes.Equal(record.Root, winner.ca().root.Raw) {
		t.Errorf("the loser has another root (%v)", err)
	}
}

func TestARecordOfANewerFormatIsRefused(t *testing.T) {
	c := testConfig(t)
	if _, err := c.Ledger.Commit(t.Context(), []Op{{Bucket: caBucket, Key: []byte(caKey), Value: []byte(`{"format":99}`)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), c); !errors.Is(err, ErrFormat) {
		t.Errorf("got %v, want ErrFormat", err)
	}
}

func TestAMemberIssuesItselfACertificateWhenItsOwnWillNotDo(t *testing.T) {
	expire := func(t *testing.T, c Config, a *Authority) {
		key := newKey(t)
		s := a.self()
		options := profileProvisioner{Peer}.options(s, time.Now().Add(-time.Hour), time.Now().Add(-time.Minute))
		chain, err := a.ca().authority.SignWithContext(t.Context(), request(t, key, named(s.name)), provisioner.SignOptions{}, options...)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.save(key, chain); err != nil {
			t.Fatal(err)
		}
	}
	overwrite := func(text string) func(*testing.T, Config, *Authority) {
		return func(t *testing.T, c Config, _ *Authority) {
			if err := os.WriteFile(filepath.Join(c.Dir, identityFile), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	cases := []struct {
		name   string
		before func(*testing.T, Config, *Authority)
		change func(*Config)
		why    string
	}{
		{"it expired while the member was off", expire, nil, "expired at"},
		{"it is damaged", overwrite("-----BEGIN CERTIFICATE-----"), nil, "because="},
		{"it is empty", overwrite(""), nil, "because="},
		{"the advertised host has changed", nil, func(c *Config) { c.Hosts = []string{"10.9.9.9"} }, "10.9.9.9"},
		{"the name has changed", nil, func(c *Config) { c.Name = "blue" }, "blue"},
		{"the member has another id", nil, func(c *Config) { c.MemberID = 2 }, "0000000000000002"},
		{"the cluster has another id", nil, func(c *Config) { c.ClusterID = 2 }, "0000000000000002"},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			c := testConfig(t)
			var logged bytes.Buffer
			c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
			first := open(t, c)
			if test.before != nil {
				test.before(t, c, first)
			}
			if test.change != nil {
				test.change(&c)
			}
			logged.Reset()
			second := open(t, c)
			if leafOf(second).Equal(leafOf(first)) {
				t.Error("the old certificate is still in use")
			}
			if err := second.checkIdentity(leafOf(second)); err != nil {
				t.Error(err)
			}
			if !second.ca().root.Equal(first.ca().root) {
				t.Error("the CA is another")
			}
			if !strings.Contains(logged.String(), test.why) {
				t.Errorf("log does not say why (%q):\n%s", test.why, logged.String())
			}
		})
	}
}

func TestAConfigThatNoCertificateCanCarryIsRefused(t *testing.T) {
	cases := []struct {
		name   string
		change func(*Config)
		want   error
	}{
		{"a host with a space", func(c *Config) { c.Hosts = []string{"no host"} }, ErrName},
		{"no name", func(c *Config) { c.Name = "" }, ErrName},
		{"a life below a second", func(c *Config) { c.MemberTTL = time.Millisecond }, ErrTTL},
		{"clients for ever", func(c *Config) { c.ClientTTL = 100 * maxTTL }, ErrTTL},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			c := testConfig(t)
			test.change(&c)
			if _, err := Open(t.Context(), c); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestReloadTakesWhatIsInTheFileIfItIsGood(t *testing.T) {
	c := testConfig(t)
	a, other := open(t, c), open(t, c)
	if err := other.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if !leafOf(a).Equal(leafOf(other)) {
		t.Error("the new certificate is not in use")
	}
	stranger := open(t, testConfig(t))
	text, err := os.ReadFile(stranger.identityPath())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.identityPath(), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(); RefusalReason(err) != ReasonUnknownAuthority || !strings.Contains(err.Error(), a.identityPath()) {
		t.Errorf("got %v, want a refusal that names the file", err)
	}
	if !leafOf(a).Equal(leafOf(other)) {
		t.Error("a bad file changed the certificate")
	}
}

func TestMetricsTellExpiriesAndCounts(t *testing.T) {
	c := testConfig(t)
	c.Registerer = prometheus.NewRegistry()
	a := open(t, c)
	issue(t, a, Client, named("alice"))
	for _, cert := range a.Certificates() {
		if got := value(t, a.metrics.expiry.WithLabelValues(cert.Kind)); got != float64(cert.NotAfter.Unix()) {
			t.Errorf("%s expires at %v, metric says %v", cert.Kind, cert.NotAfter.Unix(), got)
		}
	}
	for profile, want := range map[string]float64{"peer": 1, "client": 1, "server": 0} {
		if got := value(t, a.metrics.issued.WithLabelValues(profile)); got != want {
			t.Errorf("issued %v %s certificates, want %v", got, profile, want)
		}
	}
	families, err := c.Registerer.(*prometheus.Registry).Gather()
	if err != nil || len(families) != 4 {
		t.Errorf("registered %d metrics, want 4 (%v)", len(families), err)
	}
}

// value reads a gauge or a counter.
func value(t testing.TB, m prometheus.Metric) float64 {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.GetGauge().GetValue() + out.GetCounter().GetValue()
}
