// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// crowded is what many large lists cost a member that may take little memory,
// and those who put meanwhile.
type crowded struct {
	Contender string  `json:"contender"`
	Listers   int     `json:"listers"`
	Bytes     int     `json:"bytes_a_list"`
	P50Idle   float64 `json:"put_p50_ms_before"`
	P99Idle   float64 `json:"put_p99_ms_before"`
	P50       float64 `json:"put_p50_ms_meanwhile"`
	P99       float64 `json:"put_p99_ms_meanwhile"`
	Ratio     float64 `json:"put_p99_meanwhile_to_before"`
	Peak      float64 `json:"rss_bytes_at_most"`
	Survived  float64 `json:"survived"` // 1 or 0; the median of the rounds
	Listed    float64 `json:"lists_answered"`
	Refused   float64 `json:"lists_refused"` // with ResourceExhausted
	Failed    float64 `json:"lists_failed"`  // otherwise
	Others    float64 `json:"cpu_share_of_others"`
}

func (c crowded) shared() float64 { return c.Others }

const (
	crowdName = "lists"
	listers   = 50
	listKeys  = 25_000
	listValue = 4 << 10 // makes 100 MB of all
	// memoryLimit is what both programs are told to keep within.
	memoryLimit = "GOMEMLIMIT=1GiB"
)

// Where a put takes seconds, few of them fall into seconds.
const (
	beforeLists = 10 * time.Second
	besideLists = 20 * time.Second
)

// crowds lets many clients list much from a member of which others want little.
func (b bench) crowds(ctx context.Context, report *report) error {
	if !b.only.MatchString(crowdName) {
		return nil
	}
	rounds := map[string][]crowded{}
	for round := range b.rounds {
		for _, c := range b.rivals() {
			seen, err := b.crowd(ctx, limited(c))
			if err != nil {
				return fmt.Errorf("%s: lists: %w", c.name, err)
			}
			rounds[c.name] = append(rounds[c.name], seen)
			fmt.Fprintf(b.log, "round %d  lists  %-10s  %+v\n", round+1, c.name, seen)
		}
	}
	for _, c := range b.rivals() {
		report.Crowds = append(report.Crowds, inTheMiddle(c.name, quiet(rounds[c.name])))
	}
	return nil
}

func inTheMiddle(name string, rounds []crowded) crowded {
	of := func(field func(crowded) float64) float64 { return medianOf(rounds, field) }
	return crowded{Contender: name, Listers: listers, Bytes: listKeys * listValue,
		P50Idle:  of(func(c crowded) float64 { return c.P50Idle }),
		P99Idle:  of(func(c crowded) float64 { return c.P99Idle }),
		P50:      of(func(c crowded) float64 { return c.P50 }),
		P99:      of(func(c crowded) float64 { return c.P99 }),
		Ratio:    of(func(c crowded) float64 { return c.Ratio }),
		Peak:     of(func(c crowded) float64 { return c.Peak }),
		Survived: of(func(c crowded) float64 { return c.Survived }),
		Listed:   of(func(c crowded) float64 { return c.Listed }),
		Refused:  of(func(c crowded) float64 { return c.Refused }),
		Failed:   of(func(c crowded) float64 { return c.Failed }),
		Others:   of(crowded.shared),
	}
}

// limited is a contender whose collector keeps within the limit.
func limited(c contender) contender {
	command := c.command
	c.command = func(m *member) (*exec.Cmd, error) {
		cmd, err := command(m)
		if err == nil {
			cmd.Env = append(os.Environ(), memoryLimit)
		}
		return cmd, err
	}
	return c
}

// crowd puts for a while, then puts while others list.
func (b bench) crowd(ctx context.Context, c contender) (out crowded, err error) {
	all, err := launch(ctx, c, b.root, 1)
	if err != nil {
		return out, err
	}
	defer all.close()
	s, err := newStage(ctx, b.settings, all, putters)
	if err != nil {
		return out, err
	}
	defer s.close()
	if err := s.writeLists(ctx); err != nil {
		return out, fmt.Errorf("load: %w", err)
	}
	idle, cancel := context.WithTimeout(ctx, beforeLists)
	defer cancel()
	before, err := s.putSteadily(ctx, idle.Done())
	if err != nil {
		return out, err
	}
	l, err := b.startListers(s.member)
	if err != nil {
		return out, err
	}
	defer l.kill()
	beside, cancel := context.WithTimeout(ctx, besideLists)
	defer cancel()
	meanwhile, others, err := s.putBeside(beside, l.cmd.Process.Pid)
	out.Survived = s.member.survived()
	if err != nil && out.Survived == 1 {
		return out, err
	}
	out.Peak, out.Others = float64(s.member.peak()), others
	told, err := l.end()
	out.Listed, out.Refused, out.Failed = told.Listed, told.Refused, told.Failed
	before.elapsed, meanwhile.elapsed = time.Second, time.Second // their throughput is given
	first, then := before.figures(), meanwhile.figures()
	out.Contender, out.Listers, out.Bytes = c.name, listers, listKeys*listValue
	out.P50Idle, out.P99Idle, out.P50, out.P99, out.Ratio = first.P50, first.P99, then.P50, then.P99, ratio(then.P99, first.P99)
	return out, err
}

// putBeside puts until ctx ends; what is under way then has its time. It tells
// how much of the machine was neither the member's, the listers' nor its own.
func (s *stage) putBeside(ctx context.Context, listers int) (p phase, others float64, err error) {
	started, err := startMeter(s.member.pid(), listers)
	if err != nil {
		return p, 0, err
	}
	p, err = s.putSteadily(context.WithoutCancel(ctx), ctx.Done())
	if err != nil {
		return p, 0, err
	}
	seen, err := started.stop()
	return p, seen.others, err
}

// survived is 1 while the process runs.
func (m *member) survived() float64 {
	select {
	case <-m.done:
		return 0
	default:
		return 1
	}
}

// peak is the most that was ever resident; zero of a process that has ended.
func (m *member) peak() int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.pid()))
	if err != nil {
		return 0
	}
	peak, _ := parseKB(raw, "VmHWM:") // a process that is ending has no such line
	return peak
}

// writeLists makes the keys that are listed.
func (s *stage) writeLists(ctx context.Context) error {
	const each = 100
	filling := string(make([]byte, listValue))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for from := 0; from < listKeys; from += each {
		group.Go(func() error {
			var puts []clientv3.Op
			for i := range each {
				puts = append(puts, clientv3.OpPut(listKey(from+i), filling))
			}
			_, err := s.clientOf(from / each).Txn(ctx).Then(puts...).Commit()
			return err
		})
	}
	return group.Wait()
}

const listPrefix = "list/"

func listKey(i int) string { return fmt.Sprintf("%s%027d", listPrefix, i) }

// trusted is where the client's certificate lies.
func (b bench) trusted(m *member) credentials {
	dir := filepath.Join(b.root, "credentials")
	if m.name == cleatTLS {
		dir = filepath.Join(m.dir, "client")
	}
	return credentials{filepath.Join(dir, "ca.crt"), filepath.Join(dir, "bench.crt"), filepath.Join(dir, "bench.key")}
}
