// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, c := range []struct {
		name   string
		sorted []time.Duration
		p      int
		want   time.Duration
	}{
		{"none", nil, 50, 0},
		{"one is every percentile", hundred[:1], 99, 1},
		{"the lower of two is the median", hundred[:2], 50, 1},
		{"the upper of two is the rest", hundred[:2], 51, 2},
		{"half of a hundred", hundred, 50, 50},
		{"all but one of a hundred", hundred, 99, 99},
		{"all", hundred, 100, 100},
		{"the lowest", hundred, 0, 1},
	} {
		if got := percentile(c.sorted, c.p); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{4}, 4}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
	}
}

func TestMediansAreTakenFieldByField(t *testing.T) {
	got := medians([]figures{{1, 30, 100, 7, 2, 0.5}, {2, 10, 300, 9, 3, 0}, {3, 20, 200, 8, 1, 0.25}})
	if want := (figures{2, 20, 200, 8, 2, 0.25}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestNoisyRoundsAreLeftOutWhereThereIsAnother(t *testing.T) {
	calm, loud := figures{Throughput: 1, Others: 0.01}, figures{Throughput: 2, Others: 0.3}
	if got := quiet([]figures{loud, calm, loud}); len(got) != 1 || got[0] != calm {
		t.Errorf("kept %v", got)
	}
	if got := quiet([]figures{loud, loud}); len(got) != 2 {
		t.Errorf("kept %v of noisy ones only", got)
	}
}

func TestFiguresOfAPhase(t *testing.T) {
	p := phase{metered{2 * time.Second, 8 * time.Millisecond, 0.5, 5}, []time.Duration{3e6, 1e6, 2e6, 4e6}}
	if got, want := p.figures(), (figures{2, 2, 4, 2000, 5, 0.5}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := (phase{metered: metered{elapsed: time.Second, cpu: time.Millisecond}}).figures(); got.Throughput != 0 || got.CPU != 1000 {
		t.Errorf("of no operations: %+v", got)
	}
}

func TestARecorderCountsWhatEndsInItsWindow(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	r := recorder{from: at(100), to: at(200)}
	r.add(at(90), at(99))
	r.add(at(90), at(110))
	r.add(at(150), at(151))
	r.add(at(150), at(201))
	if len(r.taken) != 2 || r.taken[0] != 20*time.Millisecond {
		t.Errorf("took %v", r.taken)
	}
}

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20"
	for _, name := range []string{"(etcd)", "(a b) c)", "()"} {
		got, err := parseStat([]byte("42 " + name + rest))
		if err != nil || got != 1750*time.Millisecond {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, bad := range []string{"", "42 (etcd) S 1", "42 (etcd) S 1 2 3 4 5 6 7 8 9 10 x 25"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestParseKB(t *testing.T) {
	const status = "Name:\tetcd\nVmHWM:\t  900 kB\nVmRSS:\t  512 kB\nThreads:\t9\n"
	if got, err := parseKB([]byte(status), "VmRSS:"); err != nil || got != 512<<10 {
		t.Errorf("%d, %v", got, err)
	}
	for _, bad := range []string{"Name:\tVmRSS:\n", "VmRSS:\n", "VmRSS: many kB\n"} {
		if _, err := parseKB([]byte(bad), "VmRSS:"); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestParseMachine(t *testing.T) {
	const line = "cpu  100 20 30 4000 500 60 70 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n"
	if got, err := parseMachine([]byte(line)); err != nil || got != 1580*time.Millisecond {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8", "cpu 1 2 x 4 5 6 7 8"} {
		if _, err := parseMachine([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestAMeterTellsThisProcessFromOthers(t *testing.T) {
	m, err := startMeter(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for time.Since(m.began) < 100*time.Millisecond {
	}
	got, err := m.stop()
	if err != nil || got.cpu == 0 || got.elapsed < 100*time.Millisecond || got.others > 1.2 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestThisProcessUsesCPUAndMemory(t *testing.T) {
	if memory, err := memoryOf(os.Getpid()); err != nil || memory < 1<<20 {
		t.Errorf("memory %d, %v", memory, err)
	}
	if _, err := cpuOf(os.Getpid()); err != nil {
		t.Error(err)
	}
}

func TestDiskCountsWhatIsAllocated(t *testing.T) {
	dir := t.TempDir()
	empty, err := diskOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	hole, err := os.Create(filepath.Join(dir, "hole"))
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	if err := hole.Truncate(1 << 30); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "full"), []byte(strings.Repeat("x", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := hole.Sync(); err != nil {
		t.Fatal(err)
	}
	got, err := diskOf(dir)
	if grown := got - empty; err != nil || grown < 1<<20 || grown > 1<<29 {
		t.Errorf("grew by %d, %v", got-empty, err)
	}
}

func TestKeysAndValuesHaveTheirSizes(t *testing.T) {
	seen := map[string]bool{}
	for i := range 1000 {
		seen[ordinal(i)] = true
		if len(ordinal(i)) != 32 || len(rangeKey(i)) != 32 {
			t.Fatalf("%q, %q", ordinal(i), rangeKey(i))
		}
	}
	if len(seen) != 1000 || len(value()) != 256 {
		t.Errorf("%d keys of 1000, a value of %d bytes", len(seen), len(value()))
	}
}

func TestANoisyMeasureIsTakenAgain(t *testing.T) {
	loud, louder, calm := figures{Others: 0.2}, figures{Others: 0.3}, figures{Others: 0.01}
	for _, c := range []struct {
		name  string
		quick bool
		seen  []figures // in turn
		want  figures
		runs  int
	}{
		{"a calm one once", false, []figures{calm, loud}, calm, 1},
		{"a loud one twice", false, []figures{loud, calm}, calm, 2},
		{"the quieter of two loud ones", false, []figures{loud, louder}, loud, 2},
		{"in a hurry anything", true, []figures{loud, calm}, loud, 1},
	} {
		runs := 0
		got, err := quieter(c.quick, func() (figures, error) { runs++; return c.seen[runs-1], nil })
		if err != nil || got != c.want || runs != c.runs {
			t.Errorf("%s: got %+v after %d, %v", c.name, got, runs, err)
		}
	}
}

// Rounds differ more from one another than their two halves do.
func TestTheRatioOfAStalledWatcherIsTakenRoundByRound(t *testing.T) {
	round := func(without, with, others float64) pair {
		return pair{passed{rate: without}, passed{rate: with, others: others}}
	}
	got := summarize("x", 5, []pair{round(100, 95, 0), round(1000, 960, 0.01), round(10, 9.4, 0.02), round(1000, 1, 0.5)})
	if got.Ratio != 0.95 || got.Without != 100 || got.With != 95 || got.Others != 0.01 {
		t.Errorf("got %+v", got)
	}
}
