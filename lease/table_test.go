// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// disk is a ReadWriter in memory, in key order as the store is.
type disk struct {
	mu      sync.Mutex
	records map[string]string
	broken  error // what Scan returns
}

func newDisk() *disk { return &disk{records: make(map[string]string)} }

func (d *disk) Set(key, value []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.records[string(key)] = string(value)
}

func (d *disk) Delete(key []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.records, string(key))
}

func (d *disk) Scan(prefix []byte, fn func(key, value []byte) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken != nil {
		return d.broken
	}
	for _, key := range slices.Sorted(maps.Keys(d.records)) {
		if !strings.HasPrefix(key, string(prefix)) {
			continue
		}
		if err := fn([]byte(key), []byte(d.records[key])); err != nil {
			return err
		}
	}
	return nil
}

func load(t testing.TB, d *disk) *Table {
	t.Helper()
	table, err := Load(d, nil)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("err = %v, want %v", err, want)
	}
}

func TestGrantRefuses(t *testing.T) {
	d := newDisk()
	table := load(t, d)
	must(t, table.Grant(d, 7, 10, 1))
	before := maps.Clone(d.records)
	for name, test := range map[string]struct {
		id, ttl int64
		want    error
	}{
		"an ID in use":        {7, 5, ErrExists},
		"no ID":               {0, 5, ErrNotFound},
		"a TTL over the most": {8, MaxTTL + 1, ErrTTLTooLarge},
	} {
		t.Run(name, func(t *testing.T) { wantErr(t, table.Grant(d, test.id, test.ttl, 1), test.want) })
	}
	if !maps.Equal(before, d.records) || table.Len() != 1 {
		t.Errorf("a refused grant changed the state: %q", d.records)
	}
	must(t, table.Grant(d, -1, MaxTTL, 1))
}

func TestRevokeReturnsAttachedKeysSorted(t *testing.T) {
	d := newDisk()
	table := load(t, d)
	must(t, table.Grant(d, 1, 10, 1))
	must(t, table.Grant(d, 2, 10, 1))
	for _, key := range []string{"b", "a\x00", "c", "", "a"} {
		must(t, table.Attach(d, 1, []byte(key)))
	}
	must(t, table.Attach(d, 2, []byte("other")))
	table.Detach(d, 1, []byte("c"))
	table.Detach(d, 1, []byte("never attached"))

	want := [][]byte{{}, []byte("a"), []byte("a\x00"), []byte("b")}
	keys, err := table.Keys(d, 1)
	must(t, err)
	if !slices.EqualFunc(keys, want, bytes.Equal) {
		t.Errorf("keys are %q, want %q", keys, want)
	}
	keys, err = table.Revoke(d, 1)
	must(t, err)
	if !slices.EqualFunc(keys, want, bytes.Equal) {
		t.Errorf("revoke returned %q, want %q", keys, want)
	}
	if len(d.records) != 2 {
		t.Errorf("records left %q, want those of lease 2", d.records)
	}
	_, err = table.Revoke(d, 1)
	wantErr(t, err, ErrNotFound)
	_, err = table.Keys(d, 1)
	wantErr(t, err, ErrNotFound)
	wantErr(t, table.Attach(d, 1, []byte("a")), ErrNotFound)
	wantErr(t, table.Checkpoint(d, Ref{1, 1}, 5), ErrNotFound)
}

func TestRevokeChangesNothingWhenTheDiskFails(t *testing.T) {
	d := newDisk()
	table := load(t, d)
	must(t, table.Grant(d, 1, 10, 1))
	d.broken = errors.New("read error")
	_, err := table.Revoke(d, 1)
	wantErr(t, err, d.broken)
	if _, known := table.Lookup(1); !known {
		t.Error("the lease is gone although its keys are not")
	}
	_, err = Load(d, nil)
	wantErr(t, err, d.broken)
}

func TestCheckpointKeepsWithinTheTTL(t *testing.T) {
	d := newDisk()
	table := load(t, d)
	must(t, table.Grant(d, 1, 600, 1))
	for _, test := range []struct{ remaining, want int64 }{{300, 300}, {600, 600}, {1, 1}, {0, 600}, {601, 600}, {-5, 600}} {
		must(t, table.Checkpoint(d, Ref{1, 1}, test.remaining))
		if l, _ := table.Lookup(1); l.Remaining != test.want || l.TTL != 600 {
			t.Errorf("checkpoint %d: %+v, want %d remaining", test.remaining, l, test.want)
		}
	}
}

func TestCheckpointSparesALeaseGrantedAgain(t *testing.T) {
	d := newDisk()
	table := load(t, d)
	must(t, table.Grant(d, 1, 600, 7))
	chosen := table.All()[0].Ref()
	_, err := table.Revoke(d, 1)
	must(t, err)
	must(t, table.Grant(d, 1, 600, 8))
	wantErr(t, table.Checkpoint(d, chosen, 300), ErrNotFound)
	if l := load(t, d).All()[0]; l.Remaining != 600 {
		t.Errorf("%d s remain after the checkpoint of the former grant, want 600", l.Remaining)
	}
}

func TestLoadFindsWhatWasWritten(t *testing.T) {
	d := newDisk()
	table := load(t, d)
	for i, id := range []int64{5, -3, 1 << 62, 1} {
		must(t, table.Grant(d, id, 100+id%50, uint64(i+1)))
		must(t, table.Attach(d, id, fmt.Append(nil, "k", id)))
	}
	must(t, table.Checkpoint(d, Ref{5, 1}, 30))
	again := load(t, d)
	if !slices.Equal(table.All(), again.All()) {
		t.Errorf("loaded %v, want %v", again.All(), table.All())
	}
	if ids := again.All(); ids[0].ID != -3 || ids[3].ID != 1<<62 {
		t.Errorf("not by ID: %v", ids)
	}
	must(t, table.Reload(newDisk()))
	if table.Len() != 0 {
		t.Errorf("%d leases after the state was replaced by an empty one", table.Len())
	}
}

// The bytes are on disks out there.
func TestRecordFormat(t *testing.T) {
	d := newDisk()
	table := load(t, d)
	must(t, table.Grant(d, 0x0102, 60, 300))
	must(t, table.Checkpoint(d, Ref{0x0102, 300}, 30))
	must(t, table.Attach(d, 0x0102, []byte("key")))
	want := map[string]string{
		"l\x00\x00\x00\x00\x00\x00\x01\x02":    "\x01\x78\x3c\xac\x02",
		"a\x00\x00\x00\x00\x00\x00\x01\x02key": "\x01",
	}
	if !maps.Equal(d.records, want) {
		t.Errorf("records %q, want %q", d.records, want)
	}
}

func TestLoadNamesABadRecord(t *testing.T) {
	key := "l\x00\x00\x00\x00\x00\x00\x01\x02"
	for name, test := range map[string]struct {
		key, value string
		want       error
	}{
		"empty":           {key, "", errDamaged},
		"version zero":    {key, "\x00\x78\x3c\xac\x02", errDamaged},
		"newer version":   {key, "\x02\x78\x3c\xac\x02", ErrFormat},
		"cut off":         {key, "\x01\x78\x3c", errDamaged},
		"granted by none": {key, "\x01\x78\x3c\x00", errDamaged},
		"too long":        {key, "\x01\x78\x3c\xac\x02\x00", errDamaged},
		"endless number":  {key, "\x01" + strings.Repeat("\xff", 12), errDamaged},
		"key of 8 bytes":  {key[:8], "\x01\x78\x3c\xac\x02", errDamaged},
		"key of 10 bytes": {key + "x", "\x01\x78\x3c\xac\x02", errDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk()
			d.records[test.key] = test.value
			_, err := Load(d, nil)
			wantErr(t, err, test.want)
			if hex := fmt.Sprintf("%x", test.key); !strings.Contains(err.Error(), hex) {
				t.Errorf("%q does not name the record %s", err, hex)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("l\x00\x00\x00\x00\x00\x00\x01\x02"), []byte("\x01\x78\x3c\xac\x02"))
	f.Add([]byte("l"), []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		l, err := decode(key, value)
		if err != nil {
			return
		}
		again, err := decode(leaseKey(l.ID), encode(l))
		if err != nil || again != l {
			t.Errorf("%+v became %+v, %v", l, again, err)
		}
	})
}

func TestTableMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	d := newDisk()
	table, err := Load(d, reg)
	must(t, err)
	must(t, table.Grant(d, 1, 60, 1))
	must(t, table.Grant(d, 2, 60, 1))
	_, err = table.Revoke(d, 1)
	must(t, err)
	for name, want := range map[string]float64{
		"etcd_debugging_lease_granted_total": 2,
		"etcd_debugging_lease_revoked_total": 1,
		"etcd_debugging_lease_ttl_total":     2,
	} {
		if got := counted(t, reg, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// counted returns a counter, or how much a histogram has observed.
func counted(t testing.TB, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	must(t, err)
	for _, f := range families {
		if m := f.Metric[0]; f.GetName() == name {
			return m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
