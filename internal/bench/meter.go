// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
)

// A meter reads CPU clocks at the beginning and the end of a stretch of time.
type meter struct {
	pids  []int
	began time.Time
	own   time.Duration // of the members' processes
	ours  time.Duration // of the members' processes and this one
	all   time.Duration // of the machine
}

// metered is what a meter saw.
type metered struct {
	elapsed time.Duration
	cpu     time.Duration // of the members' processes
	others  float64       // share of the machine that neither side of the measure used, 0 to 1
	memory  int64         // resident bytes of the members at the end
}

func startMeter(pids ...int) (meter, error) {
	own, err := sum(pids, cpuOf)
	if err != nil {
		return meter{}, err
	}
	client, err := cpuOf(os.Getpid())
	if err != nil {
		return meter{}, err
	}
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return meter{}, err
	}
	all, err := parseMachine(raw)
	return meter{pids, time.Now(), own, own + client, all}, err
}

func (m meter) stop() (metered, error) {
	now, err := startMeter(m.pids...)
	if err != nil {
		return metered{}, err
	}
	memory, err := sum(m.pids, memoryOf)
	elapsed := now.began.Sub(m.began)
	foreign := (now.all - m.all) - (now.ours - m.ours)
	others := float64(foreign) / float64(elapsed*time.Duration(runtime.NumCPU()))
	return metered{elapsed, now.own - m.own, max(others, 0), memory}, err
}

// sum adds up what processes use.
func sum[T ~int64](pids []int, of func(int) (T, error)) (total T, err error) {
	for _, pid := range pids {
		one, err := of(pid)
		if err != nil {
			return 0, err
		}
		total += one
	}
	return total, nil
}

// parseMachine adds up the times of all processes, and those that the host
// withheld. Interrupts are left out: the loopback's are ours.
func parseMachine(raw []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(raw, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 9 || string(fields[0]) != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	var sum int64
	for _, i := range []int{1, 2, 3, 8} { // user, nice, system, steal
		n, err := strconv.ParseInt(string(fields[i]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		sum += n
	}
	return time.Duration(sum) * tick, nil
}
