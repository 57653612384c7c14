// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestABackupTellsWhoHoldsCertificates(t *testing.T) {
	c := testConfig(t)
	a := open(t, c)
	issue(t, a, Client, named("alice"))
	issue(t, a, Client, named("alice"))
	gone := issue(t, a, Client, named("gone"))
	server := named("db.example.org")
	server.DNSNames = []string{"db.example.org"}
	issue(t, a, Server, server)
	invite(t, a, Invitation{})
	l := c.Ledger.(*memoryLedger)
	serial := []byte(gone.Leaf.SerialNumber.String())
	if _, err := l.Commit(t.Context(), []Op{{Bucket: bucketPrefix + revokedTable, Key: serial, Value: []byte("{}")}}); err != nil {
		t.Fatal(err)
	}
	see := func(now time.Time) *Backup {
		b := NewBackup()
		for at, value := range l.values {
			bucket, key, _ := bytes.Cut([]byte(at), []byte{0})
			b.See(string(bucket), key, value, now)
		}
		return b
	}
	b := see(time.Now())
	if got := b.Holders(); !slices.Equal(got, []string{"alice", "db.example.org (server)"}) {
		t.Errorf("holders: %q", got)
	}
	if got := see(time.Now().Add(2 * DefaultClientTTL)).Holders(); len(got) != 0 {
		t.Errorf("after their end: %q", got)
	}
	text, err := os.ReadFile(keyFile(c))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Opens(text); err != nil {
		t.Error(err)
	}
	if err := b.Opens(keyring{testClusterKey(t, 8)}.encode(nil)); !errors.Is(err, ErrClusterKey) {
		t.Errorf("opened with another key: %v", err)
	}
	if err := NewBackup().Opens(text); !errors.Is(err, ErrNoCA) {
		t.Errorf("without a CA: %v", err)
	}
	for bucket, want := range map[string]bool{caBucket: true, bucketPrefix + revokedTable: true, tokensBucket: false, keysBucket: false, "other": false} {
		if Restorable(bucket) != want {
			t.Errorf("%s: %v", bucket, !want)
		}
	}
	dir := filepath.Join(t.TempDir(), "new", "pki")
	if err := PlaceKeys(dir, text); err != nil {
		t.Fatal(err)
	}
	if placed, err := os.ReadFile(filepath.Join(dir, clusterKeyFile)); err != nil || !bytes.Equal(placed, text) {
		t.Error(err)
	}
}
