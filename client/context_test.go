// SPDX-License-Identifier: Apache-2.0

package client

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// bundle writes one, of user name under a CA of its own, into a context.
func bundle(t *testing.T, context, name string) (*Bundle, authority) {
	t.Helper()
	dir, err := ContextDir(context)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ca := newAuthority(t)
	cert, key := ca.issue(t, name)
	a := about{Format: aboutFormat, Door: "127.0.0.1:2381", Endpoints: []string{"https://127.0.0.1:2379"}}
	if err := (&Bundle{dir: dir}).write(a, encode("CERTIFICATE", ca.cert.Raw), append(key, cert...)); err != nil {
		t.Fatal(err)
	}
	b, err := Load(context)
	if err != nil {
		t.Fatal(err)
	}
	return b, ca
}

func TestContextsComeAndGo(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	if names, err := Contexts(); err != nil || len(names) != 0 {
		t.Errorf("%q, %v", names, err)
	}
	if _, err := Load(""); !errors.Is(err, ErrNoContext) {
		t.Errorf("the current one of none: %v", err)
	}
	b, _ := bundle(t, "prod", "alice")
	lab, _ := bundle(t, "lab", "bob")
	if err := UseContext("prod"); err != nil {
		t.Fatal(err)
	}
	if err := UseContext("none"); !errors.Is(err, ErrNoContext) {
		t.Errorf("use what there is not: %v", err)
	}
	if names, err := Contexts(); err != nil || !slices.Equal(names, []string{"lab", "prod"}) {
		t.Errorf("%q, %v", names, err)
	}
	for name, want := range map[string]*Bundle{"": b, "prod": b, "lab": lab, lab.Dir(): lab} {
		if got, err := Load(name); err != nil || got.Dir() != want.Dir() || !got.Certificate().Equal(want.Certificate()) {
			t.Errorf("%q: %v, %v", name, got, err)
		}
	}
	if err := ForgetContext("lab"); err != nil {
		t.Fatal(err)
	}
	if current, err := CurrentContext(); err != nil || current != "prod" {
		t.Errorf("current is %q, %v", current, err)
	}
	if err := ForgetContext("prod"); err != nil {
		t.Fatal(err)
	}
	if current, err := CurrentContext(); err != nil || current != "" {
		t.Errorf("current is %q, %v", current, err)
	}
	if left, err := filepath.Glob(filepath.Join(home, "cleat", "*", "*")); err != nil || len(left) != 0 {
		t.Errorf("left: %q, %v", left, err)
	}
	// What was loaded goes on with what it had: files being replaced do no harm.
	if b.Certificate().Subject.CommonName != "alice" || len(b.Endpoints()) != 0 {
		t.Errorf("%v, %q", b.Certificate().Subject, b.Endpoints())
	}
}

func TestNamesThatAreNoDirectoryEverywhereAreRefused(t *testing.T) {
	for _, name := range []string{"..", ".", ".x", "a b", "a:b", "-x", "a\x00", strings.Repeat("x", 65)} {
		if _, err := ContextDir(name); !errors.Is(err, ErrContextName) {
			t.Errorf("%q: %v, want ErrContextName", name, err)
		}
		if _, err := Load(name); !errors.Is(err, ErrContextName) {
			t.Errorf("load %q: %v, want ErrContextName", name, err)
		}
	}
	if _, err := ContextDir("10.0.0.1"); err != nil {
		t.Error(err)
	}
}

func TestADamagedBundleIsNamed(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for file, content := range map[string]string{identityFile: "", rootsFile: "nothing", aboutFile: `{"format":2}`} {
		b, _ := bundle(t, "prod", "alice")
		if err := os.WriteFile(filepath.Join(b.Dir(), file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load("prod"); !errors.Is(err, ErrBundle) || !strings.Contains(err.Error(), b.Dir()) {
			t.Errorf("%s: %v, want ErrBundle", file, err)
		}
	}
}

// The moment is between 50 and 80 % of the life, stays for one certificate, and
// is another for others.
func TestTheMomentOfRenewalIsChance(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	moments := map[float64]bool{}
	for range 20 {
		b, _ := bundle(t, "prod", "alice")
		leaf := b.Certificate()
		issued, life := b.life(leaf)
		share := float64(b.RenewAt().Sub(issued)) / float64(life)
		if share < 0.5 || share > 0.8 || !b.RenewAt().Equal(b.RenewAt()) {
			t.Errorf("at %.2f of the life", share)
		}
		moments[share] = true
	}
	if len(moments) < 10 {
		t.Errorf("%d moments of 20", len(moments))
	}
}

func TestAFailureIsTriedAgainEverMoreSlowlyUntilThereIsANewCertificate(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	b, _ := bundle(t, "prod", "alice")
	var r Renewer
	first := r.due(b)
	var delays []time.Duration
	for range 12 {
		before := time.Now()
		r.note(b, errors.New("nobody is there"))
		delays = append(delays, r.failed[b.dir].delay)
		if again := r.due(b).Sub(before); again < r.failed[b.dir].delay/2 {
			t.Errorf("again in %v after a delay of %v", again, r.failed[b.dir].delay)
		}
	}
	if !slices.IsSorted(delays) || delays[0] < leastRetry || delays[len(delays)-1] > lastRetry || delays[3] <= delays[0] {
		t.Errorf("delays %v", delays)
	}
	r.note(b, nil)
	if !r.due(b).Equal(first) {
		t.Errorf("due at %v, want %v", r.due(b), first)
	}
}

func TestARenewalGoesOnAtOtherMembers(t *testing.T) {
	a := about{Door: "[fd00::1]:77", Endpoints: []string{"https://[fd00::1]:2379", "https://b:2379", "https://c:1", "nothing"}}
	if got := strings.Join(a.doors(), " "); got != "[fd00::1]:77 b:77 c:77" {
		t.Errorf("doors %s", got)
	}
	for _, c := range []struct{ told, door, want string }{
		{"https://127.0.0.1:2379", "127.0.0.1:2381", "https://127.0.0.1:2379"},
		{"https://127.0.0.1:2379", "db:2381", "https://db:2379"},
		{"https://[::1]:2379 https://b:1", "db:2381", "https://b:1"},
		{"https://[::]:2379", "127.0.0.1:2381", "https://127.0.0.1:2379"},
		{"", "[fd00::1]:2381", "https://[fd00::1]:2379"},
	} {
		if got := strings.Join(reachable(strings.Fields(c.told), c.door), " "); got != c.want {
			t.Errorf("%q from %s: %s, want %s", c.told, c.door, got, c.want)
		}
	}
}

func TestWhoIsNotAMemberIsNotBelieved(t *testing.T) {
	ca := newAuthority(t)
	text, _ := ca.issue(t, "server")
	chain, err := certificates(text)
	if err != nil {
		t.Fatal(err)
	}
	for name, roots := range map[string]*x509.CertPool{"no member": pool(ca.cert), "no root": pool(newAuthority(t).cert)} {
		if err := verifyMember(chain, roots); !errors.Is(err, ErrCluster) {
			t.Errorf("%s: %v, want ErrCluster", name, err)
		}
	}
	if err := verifyMember(nil, pool(ca.cert)); !errors.Is(err, ErrCluster) {
		t.Errorf("nobody: %v", err)
	}
}

func TestATokenSaysOfWhichClusterItIs(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	b, ca := bundle(t, "prod", "alice")
	digest := sha256.Sum256(ca.cert.Raw)
	text := "cleat1." + base64.RawURLEncoding.EncodeToString(digest[:]) + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	if same, err := b.Of(text + "\n"); err != nil || !same {
		t.Errorf("of the bundle's: %v, %v", same, err)
	}
	other := "cleat1." + strings.Repeat("A", 43) + "." + strings.Repeat("A", 43)
	if same, err := b.Of(other); err != nil || same {
		t.Errorf("of another: %v, %v", same, err)
	}
	if _, err := b.Of(text[:80]); !errors.Is(err, ErrToken) {
		t.Errorf("cut off: %v, want ErrToken", err)
	}
}

func FuzzRootDigest(f *testing.F) {
	f.Add("cleat1." + strings.Repeat("A", 43) + "." + strings.Repeat("A", 43))
	f.Add("cleat1..")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		digest, err := rootDigest(text)
		if err != nil && !errors.Is(err, ErrToken) {
			t.Error(err)
		}
		if want := "cleat1." + base64.RawURLEncoding.EncodeToString(digest[:]) + "."; err == nil && !strings.HasPrefix(text, want) {
			t.Errorf("%q is read as %q", text, want)
		}
	})
}
