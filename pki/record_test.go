// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAMemberAmongSeveralOpensWithoutTheLedger(t *testing.T) {
	for name, off := range map[string]time.Duration{"its certificate is good": time.Minute, "its certificate has expired": 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := testConfig(t)
				ledger := c.Ledger.(*memoryLedger)
				first := open(t, c)
				pass(off)
				ledger.fail(errLedger)
				calls := ledger.calls
				c.Offline = true
				second := open(t, c)
				if ledger.calls != calls {
					t.Errorf("the ledger was called %d times", ledger.calls-calls)
				}
				if err := second.checkIdentity(leafOf(second)); err != nil {
					t.Error(err)
				}
				if !second.ca().root.Equal(first.ca().root) {
					t.Error("it is another CA")
				}
				serial := []byte(leafOf(second).SerialNumber.String())
				run(t, second)
				pass(10 * time.Second)
				ledger.fail(nil)
				pass(lastRecord)
				if raw, err := ledger.Get(t.Context(), bucketPrefix+certificatesTable, serial); raw == nil || err != nil {
					t.Errorf("the certificate is not recorded (%v)", err)
				}
				if n := ledger.count(t, bucketPrefix+dataTable); n != ledger.count(t, bucketPrefix+certificatesTable) {
					t.Errorf("%d certificates have their data", n)
				}
			})
		})
	}
}

func TestOfflineWithoutACopyAsksTheLedger(t *testing.T) {
	c := testConfig(t)
	first := open(t, c)
	if err := os.Remove(filepath.Join(c.Dir, caFile)); err != nil {
		t.Fatal(err)
	}
	c.Offline = true
	if second := open(t, c); !second.ca().root.Equal(first.ca().root) {
		t.Error("it is another CA")
	}
	if _, err := os.Stat(filepath.Join(c.Dir, caFile)); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, caFile), []byte(`{"format":9}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), c); !errors.Is(err, ErrFormat) {
		t.Errorf("%v, want ErrFormat", err)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, caFile), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), c); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), caFile+" is damaged") {
		t.Errorf("%v, want ErrFormat and the file", err)
	}
}

func TestACAThatIsAnotherInTheLedgerCountsAtOnce(t *testing.T) {
	c := testConfig(t)
	open(t, c)
	key, err := readClusterKey(filepath.Join(c.Dir, clusterKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := makeCA(t.Context(), c.ClusterID, key)
	if err != nil {
		t.Fatal(err)
	}
	var logged journal
	c.Logger, c.Offline = slog.New(slog.NewTextHandler(&logged, nil)), true
	a := open(t, c)
	put := func(value []byte) {
		if _, err := c.Ledger.Commit(t.Context(), []Op{{Bucket: caBucket, Key: []byte(caKey), Value: value}}); err != nil {
			t.Fatal(err)
		}
	}
	put([]byte(`{"format":99}`))
	if err := a.recordIdentity(t.Context()); !errors.Is(err, ErrFormat) {
		t.Errorf("%v, want ErrFormat", err)
	}
	put(nil)
	if err := a.recordIdentity(t.Context()); err == nil {
		t.Error("no CA in the ledger, and no error")
	}
	put(raw)
	if err := a.recordIdentity(t.Context()); err != nil {
		t.Fatal(err)
	}
	if kept, _ := os.ReadFile(filepath.Join(c.Dir, caFile)); !bytes.Equal(kept, raw) || !strings.Contains(logged.String(), "the CA has changed") {
		t.Error("the new CA is not kept, or nobody was told")
	}
	if !bytes.Equal(a.ca().record.raw, raw) || a.current.Load().renew.After(time.Now()) {
		t.Error("the new CA does not count, or this member's certificate is not due")
	}
}
