// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// issues says why a member issues nothing, nil if it does.
func issues(t *testing.T, a *Authority) error {
	t.Helper()
	_, err := a.Issue(t.Context(), request(t, newKey(t), named("alice")), Client, 0)
	return err
}

func keyFile(c Config) string { return filepath.Join(c.Dir, clusterKeyFile) }

func TestAMemberThatCannotOpenTheCAServesAndIssuesNothing(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"the cluster key is gone": os.Remove,
		"the cluster key is another's": func(path string) error {
			return os.WriteFile(path, keyring{testClusterKey(t, 9)}.encode(nil), 0o600)
		},
		"the cluster key is damaged": func(path string) error { return os.WriteFile(path, []byte("no key"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(t)
			c.Registerer = prometheus.NewRegistry()
			alice := issue(t, open(t, c), Client, named("alice"))
			good, err := os.ReadFile(keyFile(c))
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(keyFile(c)); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(keyFile(c))
			registry := prometheus.NewRegistry()
			c.Registerer = registry
			a := open(t, c)
			if err := a.Locked(); !errors.Is(err, ErrClusterKey) {
				t.Errorf("locked for %v, want ErrClusterKey", err)
			}
			if server, client := accept(t, a.ClientDoor(), clientConfig(a, &alice)); server != nil || client != nil {
				t.Errorf("alice was not let in: %v, %v", server, client)
			}
			if err := issues(t, a); !errors.Is(err, ErrClusterKey) {
				t.Errorf("issued: %v", err)
			}
			if _, _, err := a.Invite(t.Context(), Invitation{}); !errors.Is(err, ErrClusterKey) {
				t.Errorf("invited: %v", err)
			}
			if after, _ := os.ReadFile(keyFile(c)); !bytes.Equal(before, after) {
				t.Error("the cluster key was replaced")
			}
			if n := gauge(t, registry, "cleat_pki_locked"); n != 1 {
				t.Errorf("the metric says %v", n)
			}
			if err := a.Unlock(t.Context(), keyring{testClusterKey(t, 3)}.encode(nil)); !errors.Is(err, ErrClusterKey) {
				t.Errorf("unlocked with a wrong key: %v", err)
			}
			if after, _ := os.ReadFile(keyFile(c)); !bytes.Equal(before, after) {
				t.Error("a wrong key was kept")
			}
			if err := a.Unlock(t.Context(), good); err != nil {
				t.Fatal(err)
			}
			if err := issues(t, a); err != nil {
				t.Error(err)
			}
			if n := gauge(t, registry, "cleat_pki_locked"); n != 0 {
				t.Errorf("the metric says %v", n)
			}
			c.Registerer = nil
			if err := issues(t, open(t, c)); err != nil {
				t.Errorf("after a restart: %v", err)
			}
		})
	}
}

func gauge(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

func TestALockLastsUntilItIsTakenBack(t *testing.T) {
	c := testConfig(t)
	a := open(t, c)
	if err := a.Lock(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if err := issues(t, a); !errors.Is(err, ErrLocked) {
		t.Errorf("issued: %v", err)
	}
	if ring := a.vault.ring(); ring != nil {
		t.Errorf("it holds %v", ring)
	}
	again := open(t, c)
	if err := again.Locked(); !errors.Is(err, ErrLocked) {
		t.Errorf("after a restart: %v", err)
	}
	if err := again.Unlock(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := issues(t, again); err != nil {
		t.Error(err)
	}
	if err := open(t, c).Locked(); err != nil {
		t.Errorf("after another restart: %v", err)
	}
}

func TestTheLastKeyIsNotRemoved(t *testing.T) {
	c := testConfig(t)
	a := open(t, c)
	if err := a.Lock(t.Context(), true); !errors.Is(err, ErrOnlyKey) {
		t.Fatalf("%v, want ErrOnlyKey", err)
	}
	if err := issues(t, a); err != nil {
		t.Errorf("a lock that was refused locks: %v", err)
	}
	text, id, err := a.ExportKey(t.Context())
	if err != nil || a.KeyStatus().Key != id {
		t.Fatal(id, err)
	}
	if err := a.Exported(t.Context(), "another"); !errors.Is(err, ErrClusterKey) {
		t.Errorf("another key was exported: %v", err)
	}
	if err := a.Exported(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := a.Lock(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(keyFile(c)); !os.IsNotExist(err) {
		t.Errorf("the file is there: %v", err)
	}
	if err := a.Unlock(t.Context(), nil); !errors.Is(err, ErrClusterKey) {
		t.Errorf("unlocked without a key: %v", err)
	}
	if err := a.Unlock(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	if err := issues(t, open(t, c)); err != nil {
		t.Error(err)
	}
}

func TestALockedMemberNeedsACertificateThatOthersGoBy(t *testing.T) {
	c := testConfig(t)
	open(t, c)
	if err := os.Remove(keyFile(c)); err != nil {
		t.Fatal(err)
	}
	c.Hosts = []string{"other.example.org"}
	if err := open(t, c).Locked(); err == nil {
		t.Error("it is not locked")
	}
	if err := os.Remove(filepath.Join(c.Dir, identityFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), c); !errors.Is(err, ErrClusterKey) || !strings.Contains(err.Error(), "join anew") {
		t.Errorf("%v, want ErrClusterKey with advice", err)
	}
}

func TestACredentialIsNotCopiedToTheDisk(t *testing.T) {
	c := testConfig(t)
	c.Credential = filepath.Join(t.TempDir(), "cluster.key")
	secret := testClusterKey(t, 5)
	if err := os.WriteFile(c.Credential, keyring{secret}.encode(nil), 0o600); err != nil {
		t.Fatal(err)
	}
	a := open(t, c)
	if err := issues(t, a); err != nil {
		t.Fatal(err)
	}
	if status := a.KeyStatus(); status.Key != secret.ID() || !status.Credential || status.Plain || status.Stale {
		t.Errorf("%+v", status)
	}
	if _, err := os.Stat(keyFile(c)); !os.IsNotExist(err) {
		t.Fatalf("the key is on the disk: %v", err)
	}
	if r, err := a.RotateKey(t.Context(), time.Second); err != nil || r.Old != secret.ID() {
		t.Fatal(r, err)
	}
	next, _ := a.vault.ring().byID(a.KeyStatus().Key)
	if text, err := os.ReadFile(keyFile(c)); err != nil || bytes.Contains(text, []byte(clusterKeyType)) ||
		!bytes.Contains(text, []byte(sealedKeyType)) || bytes.Contains(text, next.secret) {
		t.Errorf("the next key lies there as %q (%v)", text, err)
	}
	again := open(t, c)
	if err := issues(t, again); err != nil {
		t.Error(err)
	}
	if status := again.KeyStatus(); !status.Stale {
		t.Errorf("nobody is told that the credential is old: %+v", status)
	}
	if err := again.Lock(t.Context(), true); !errors.Is(err, ErrOnlyKey) {
		t.Errorf("a credential was removed: %v", err)
	}
	token, _, err := a.Invite(t.Context(), Invitation{})
	if err != nil {
		t.Fatal(err)
	}
	j := join(t, token)
	j.Credential = c.Credential
	if err := j.Accept(admit(t, a, j, 2)); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(j.dir, clusterKeyFile)); err != nil || bytes.Contains(text, []byte(clusterKeyType)) {
		t.Errorf("a machine that joins keeps its credential on the disk: %q (%v)", text, err)
	}
}

func TestLockingMeetsNothingHalfDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testConfig(t)
		c.Replica = replica{c.Ledger.(*memoryLedger)}
		a := open(t, c)
		run(t, a)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for n := 0; ctx.Err() == nil; n++ {
				if err := a.Lock(ctx, false); err != nil {
					t.Error(err)
				}
				if err := a.Unlock(ctx, nil); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		}()
		for range 50 {
			if err := issues(t, a); err != nil && !errors.Is(err, ErrLocked) {
				t.Error(err)
			}
		}
		cancel()
		<-ended
		synctest.Wait()
		if err := issues(t, a); err != nil {
			t.Error(err)
		}
	})
}
