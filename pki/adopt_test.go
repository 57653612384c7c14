// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// another makes a CA that the cluster of the configuration could have, as its
// record of that version.
func another(t *testing.T, c Config, version uint64) []byte {
	t.Helper()
	key, err := readClusterKey(filepath.Join(c.Dir, clusterKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := makeCA(t.Context(), c.ClusterID, key)
	if err != nil {
		t.Fatal(err)
	}
	record, err := decodeCA(raw)
	if err != nil {
		t.Fatal(err)
	}
	record.Version = version
	if raw, err = json.Marshal(record); err != nil {
		t.Fatal(err)
	}
	return raw
}

func putCA(t *testing.T, c Config, raw []byte) {
	t.Helper()
	if _, err := c.Ledger.Commit(t.Context(), []Op{{Bucket: caBucket, Key: []byte(caKey), Value: raw}}); err != nil {
		t.Fatal(err)
	}
}

func TestAMemberFollowsTheCAWithoutARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testConfig(t)
		c.Replica = replica{c.Ledger.(*memoryLedger)}
		a := open(t, c)
		run(t, a)
		door, before := a.ClientDoor(), a.ca().intermediate
		raw := another(t, c, 7)
		putCA(t, c, raw)
		pass(time.Second)
		if a.ca().intermediate.Equal(before) {
			t.Fatal("the CA of before still counts")
		}
		if kept, _ := os.ReadFile(filepath.Join(c.Dir, caFile)); string(kept) != string(raw) {
			t.Error("the next start would go by the CA of before")
		}
		if err := a.checkIdentity(leafOf(a)); err != nil {
			t.Errorf("this member's certificate was not renewed: %v", err)
		}
		shown, err := door.GetCertificate(nil)
		if err != nil || !shown.Leaf.Equal(leafOf(a)) || string(shown.Certificate[1]) != string(a.ca().intermediate.Raw) {
			t.Errorf("an open door shows another certificate than this member's: %v", err)
		}
		if _, err := a.Issue(t.Context(), request(t, newKey(t), named("alice")), Client, 0); err != nil {
			t.Error(err)
		}

		older := another(t, c, 6) // as after a crash, when the state is behind ca.json
		putCA(t, c, older)
		pass(time.Second)
		if string(a.ca().record.raw) != string(raw) {
			t.Error("an older record counts")
		}
		if err := a.refresh(t.Context()); err != nil || string(a.ca().record.raw) != string(older) {
			t.Errorf("what the cluster says at this moment does not count: %v", err)
		}
	})
}

func TestAChangeOfTheCAThatCannotBeFollowedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testConfig(t)
		c.Replica = replica{c.Ledger.(*memoryLedger)}
		a := open(t, c)
		run(t, a)
		strange := testClusterKey(t, 9)
		raw, err := reseal(another(t, c, 0), true, a.vault.ring(), strange)
		if err != nil {
			t.Fatal(err)
		}
		putCA(t, c, raw)
		pass(time.Second)
		if string(a.ca().record.raw) == string(raw) || issues(t, a) != nil {
			t.Fatal("a CA counts that this member cannot open")
		}
		if err := a.vault.add(strange); err != nil {
			t.Fatal(err)
		}
		pass(lastRecord)
		if string(a.ca().record.raw) != string(raw) {
			t.Error("it was not tried again")
		}
	})
}
