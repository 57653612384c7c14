// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"
)

// TestMain lets the test's own binary be the floor, as bench's is.
func TestMain(m *testing.M) {
	if os.Getenv(floorVariable) != "" {
		exit(serveFloor(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// floorBench is a run with the floor as its only contender.
func floorBench(t *testing.T, only string) bench {
	t.Helper()
	s := settings{only: regexp.MustCompile(only), rounds: 2, warm: 20 * time.Millisecond, length: 100 * time.Millisecond}
	b := bench{settings: s, root: t.TempDir(), log: new(bytes.Buffer)}
	everyone, err := contenders(s, b.root)
	if err != nil {
		t.Fatal(err)
	}
	b.contenders = slices.DeleteFunc(everyone, func(c contender) bool { return c.name != floorTLS })
	return b
}

func TestTheFloorIsMeasuredAndLeavesNothingBehind(t *testing.T) {
	b := floorBench(t, "^(put|get|range)")
	r := newReport(t.Context(), b.settings)
	if err := b.play(t.Context(), scenes(), r); err != nil {
		t.Fatal(err)
	}
	r.sort(scenes())
	if len(r.Rows) != 7 {
		t.Fatalf("%d rows, want 7: %v", len(r.Rows), r.measures())
	}
	for _, w := range r.Rows {
		if len(w.Rounds) != 2 || w.Median.Memory == 0 {
			t.Errorf("%s: rounds %v, median %+v", w.Measure, w.Rounds, w.Median)
		}
	}
	left, err := filepath.Glob(filepath.Join(b.root, floorTLS+"-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// The floor answers everything but who leads, which is asked of clusters only.
func TestAClustersProcessesAreMeasuredTogether(t *testing.T) {
	b := floorBench(t, "")
	var all cluster
	for range 3 {
		one, err := launch(t.Context(), b.contenders[0], b.root, 1)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(one.close)
		all = append(all, one...)
	}
	s, err := newStage(t.Context(), b.settings, all, 4)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for i, want := range []*member{all[0], all[1], all[2], all[0]} {
		if got := s.clients[i].Endpoints(); len(got) != 1 || got[0] != want.address {
			t.Errorf("client %d is at %v, want %s", i, got, want.address)
		}
	}
	p, err := atFollower(puts(1))(t.Context(), s)
	if err != nil || len(p.taken) == 0 {
		t.Fatalf("%d puts, %v", len(p.taken), err)
	}
	one, err := memoryOf(all[0].pid())
	if err != nil || p.memory < 2*one {
		t.Errorf("resident %d bytes of three, %d of one, %v", p.memory, one, err)
	}
	if p, err = idle(t.Context(), s); err != nil || len(p.taken) != 1 {
		t.Errorf("idle for %d seconds, %v", len(p.taken), err)
	}
}

func TestACancelledRunEndsItsProcess(t *testing.T) {
	b := floorBench(t, "")
	b.length = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	var played *member
	sc := scene{connections: 1, prepare: func(_ context.Context, s *stage) error {
		played = s.member
		cancel()
		return nil
	}, measures: []measure{{"put", "puts", puts(1)}}}
	if err := b.perform(ctx, sc, b.contenders[0], 0, newReport(t.Context(), b.settings)); err == nil {
		t.Fatal("a cancelled measure succeeded")
	}
	select {
	case <-played.done:
	default:
		t.Error("the process still runs")
	}
	if _, err := os.Stat(played.dir); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
}

func TestAMemberThatCannotStartSaysWhy(t *testing.T) {
	b := floorBench(t, "")
	c := b.contenders[0]
	c.command = floorCommand(credentials{authority: "missing"})
	_, err := launch(t.Context(), c, b.root, 1)
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("open missing: no such file")) {
		t.Errorf("got %v", err)
	}
}

func TestPartialRunsDoNotReplaceThePublishedFigures(t *testing.T) {
	for args, want := range map[string]string{
		"": "docs/bench", "-quick": ".build/bench", "-run=put": ".build/bench", "-contender=etcd": ".build/bench",
		"-rounds=5": "docs/bench", "-members=3": "docs/bench/cluster",
	} {
		var list []string
		if args != "" {
			list = []string{args}
		}
		s, err := parse(list)
		if err != nil || s.out != want {
			t.Errorf("%q writes to %q (%v), want %q", args, s.out, err, want)
		}
	}
	for _, bad := range []string{"-rounds=0", "-seconds=-1", "-run=(", "-contender=(", "-members=0"} {
		if _, err := parse([]string{bad}); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestWriteLeavesThreeFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	want := sample()
	if err := want.write(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bench.json", "bench.md", "bench.svg"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, "bench.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got report
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Rows) != len(want.Rows) || got.Ratios[0] != want.Ratios[0] {
		t.Errorf("read back %+v", got)
	}
}
