// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleatd/cleat/admin"
)

// busy is a member whose counters grow by the same in each of its seconds, of
// which one goes by with each look.
type busy struct {
	office
	mu    sync.Mutex
	looks int // under mu
}

func (b *busy) Status(_ context.Context, r *admin.StatusRequest) (*admin.StatusResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looks++
	s := &admin.StatusResponse{
		Name: "one", MemberId: 1, ClusterId: 0xc1, Time: timestamppb.New(time.Unix(int64(b.looks), 0)),
		Raft: &admin.Raft{Leader: 1, Applied: 7, Commit: 9}, Database: &admin.Database{Revision: int64(10 * b.looks)},
	}
	s.Metrics = b.metrics()
	s.Members = []*admin.MemberStatus{{Id: 1, Name: "one", Status: proto.CloneOf(s)}, {Id: 2, Name: "two", Unreached: "refused"}}
	return s, nil
}

func (b *busy) metrics() (all [][]byte) {
	r := prometheus.NewRegistry()
	handled := prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricHandled}, []string{"grpc_method"})
	received := prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricReceived}, []string{"grpc_method"})
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: metricTook, Buckets: []float64{0.001, 0.002, 0.004}}, []string{"type"})
	fsync := prometheus.NewHistogram(prometheus.HistogramOpts{Name: metricFsync, Buckets: []float64{0.001, 0.002}})
	r.MustRegister(handled, received, took, fsync)
	for method, each := range map[string]int{"Range": 100, "Put": 20, "Txn": 5, "LeaseKeepAlive": 3, "Status": 2} {
		handled.WithLabelValues(method).Add(float64(each * b.looks))
		received.WithLabelValues(method).Add(float64(each * b.looks))
		for i := range each * b.looks {
			quick := 0.0005
			if i%50 == 0 {
				quick = 0.003
			}
			took.WithLabelValues(method).Observe(quick)
			fsync.Observe(1)
		}
	}
	for name, value := range map[string]float64{metricWatchers: 4, metricLeases: 1234, metricMemory: 64 << 20} {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name})
		g.Set(value)
		r.MustRegister(g)
	}
	for name, value := range map[string]float64{metricCPU: 0.5, metricEvents: 30} {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name})
		c.Add(value * float64(b.looks))
		r.MustRegister(c)
	}
	families, err := r.Gather()
	if err != nil {
		panic(err)
	}
	for _, family := range families {
		raw, err := proto.Marshal(family)
		if err != nil {
			panic(err)
		}
		all = append(all, raw)
	}
	return all
}

func TestTopTellsWhatWasDoneInAnInterval(t *testing.T) {
	b := &busy{}
	socket := b.serve(t, b)
	code, stdout, stderr := cleatctl(t, "top", "--once", "--json", "--interval=100ms", "--socket", socket)
	var got frame
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != exitDone || len(got.Members) != 2 {
		t.Fatalf("exit code %d, %v: %q, %q", code, err, stdout, stderr)
	}
	want := figures{
		Name: "one", ID: "1", Role: "leader", Reads: 100, ReadP50: 0.001, ReadP99: 0.004, Writes: 25, WriteP50: 0.001, WriteP99: 0.001,
		Leasing: 3, Other: 2, Revision: 20, Changes: 10, Events: 30, Watchers: 4, Leases: 1234, Memory: 64 << 20, CPU: 0.5,
		FsyncP50: 0.002, FsyncP99: 0.002, Behind: 2,
	}
	if got.Members[0] != want || got.Cluster != "c1" {
		t.Errorf("got  %+v\nwant %+v", got.Members[0], want)
	}
	if away := got.Members[1]; away.Unreached != "refused" || away.Name != "two" {
		t.Errorf("%+v", away)
	}
	_, stdout, _ = cleatctl(t, "top", "--once", "--interval=100ms", "--socket", socket)
	for _, want := range []string{"one  leader      100  1ms  4ms        25  1ms  1ms        3        2\n", "1,234  64 MiB  50%      2ms      2ms       2\n", "two (2) is not reached: refused\n"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	for line, want := range map[string]string{"top now": "no argument", "top --interval=1ms": "too short", "top -w table": "no form"} {
		if code, _, stderr := cleatctl(t, append(strings.Fields(line), "--socket", socket)...); code != exitMisused || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %q", line, code, stderr)
		}
	}
	o := &office{status: &admin.StatusResponse{MemberId: 1}}
	if code, _, stderr := cleatctl(t, "top", "--once", "--socket", o.open(t)); code != exitFailed || !strings.Contains(stderr, "older than this program") {
		t.Errorf("an older member: exit code %d, %q", code, stderr)
	}
}

func TestWhoBeganAnewHasNoRates(t *testing.T) {
	early, late := &busy{looks: 1}, &busy{looks: 5}
	read := func(b *busy, at int64) reading {
		r, err := readMetrics(&admin.StatusResponse{Metrics: b.metrics(), Time: timestamppb.New(time.Unix(at, 0))})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	before, now := read(late, 1), read(early, 2)
	if rate := now.rate(before, metricCPU, labelled{}); rate != 0 {
		t.Errorf("%v", rate)
	}
	if q := now.quantile(before, metricTook, labelled{}, 0.5); q != 0 {
		t.Errorf("%v", q)
	}
	if q := now.quantile(now, "none", labelled{}, 0.5); q != 0 {
		t.Errorf("%v", q)
	}
	if _, err := readMetrics(&admin.StatusResponse{Metrics: [][]byte{{0xff}}}); err == nil {
		t.Error("rubbish was read")
	}
}

// pty is a terminal with nobody in front of it.
func pty(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("there is no terminal to be had: %v", err)
	}
	t.Cleanup(func() { _ = person.Close() })
	fd := int(person.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Skipf("there is no terminal to be had: %v", err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there is no terminal to be had: %v", err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return person, program
}

// In a terminal it draws until somebody has enough, and leaves all as it was.
func TestTopGivesTheTerminalBackOnEveryWayOut(t *testing.T) {
	b := &busy{}
	socket := b.serve(t, b)
	for name, leave := range map[string]func(person *os.File, run *os.Process) error{
		"q":       func(person *os.File, _ *os.Process) error { _, err := person.WriteString("xq"); return err },
		"Ctrl-C":  func(person *os.File, _ *os.Process) error { _, err := person.WriteString("\x03"); return err },
		"SIGTERM": func(_ *os.File, run *os.Process) error { return run.Signal(unix.SIGTERM) },
		"SIGHUP":  func(_ *os.File, run *os.Process) error { return run.Signal(unix.SIGHUP) },
	} {
		t.Run(name, func(t *testing.T) {
			person, program := pty(t)
			was, err := term.GetState(int(program.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			run := exec.CommandContext(t.Context(), self, "top", "--interval=100ms", "--socket", socket)
			run.Env = append(os.Environ(), "CLEATCTL_TEST_MAIN=1")
			run.Stdin, run.Stdout = program, program
			if err := run.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- run.Wait() }()
			var seen bytes.Buffer
			piece := make([]byte, 4096)
			for strings.Count(seen.String(), "MEMBER") < 4 { // two frames of two tables
				n, err := person.Read(piece)
				if err != nil {
					t.Fatalf("%v; it was seen\n%q", err, &seen)
				}
				seen.Write(piece[:n])
			}
			if err := leave(person, run.Process); err != nil {
				t.Fatal(err)
			}
			for !strings.Contains(seen.String(), leaveScreen) {
				n, err := person.Read(piece)
				if err != nil {
					t.Fatalf("%v; it was seen\n%q", err, &seen)
				}
				seen.Write(piece[:n])
			}
			if err := <-ended; err != nil {
				t.Errorf("it ended with %v", err)
			}
			now, err := term.GetState(int(program.Fd()))
			if err != nil || fmt.Sprint(now) != fmt.Sprint(was) {
				t.Errorf("the terminal is %v, was %v, %v", now, was, err)
			}
			if !strings.HasPrefix(seen.String(), enterScreen) || !strings.Contains(seen.String(), "two (2) is not reached: refused") {
				t.Errorf("it was seen\n%q", &seen)
			}
		})
	}
}
