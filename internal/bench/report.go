// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// A report is everything a run found, as bench.json holds it.
type report struct {
	Date     string            `json:"date"`
	Machine  machine           `json:"machine"`
	Versions map[string]string `json:"versions"`
	Rounds   int               `json:"rounds"`
	Seconds  float64           `json:"seconds_per_phase"`
	Quick    bool              `json:"quick,omitempty"`
	Long     bool              `json:"long,omitempty"`
	Members  int               `json:"members,omitempty"` // of each cluster, when there were several
	Rows     []row             `json:"rows"`
	Ratios   []compared        `json:"ratios"`
	Storage  []held            `json:"storage,omitempty"`
	Leases   []aged            `json:"leases,omitempty"`
	Backups  []kept            `json:"backups,omitempty"`
	Stalled  []slowed          `json:"stalled,omitempty"`
	Crowds   []crowded         `json:"crowds,omitempty"`
}

type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory int64  `json:"memory_bytes"`
	Kernel string `json:"kernel"`
}

// A row is one measure of one contender.
type row struct {
	Measure   string    `json:"measure"`
	Unit      string    `json:"unit"`
	Contender string    `json:"contender"`
	Median    figures   `json:"median"`
	Rounds    []figures `json:"rounds"`
}

// compared is cleat's median over another's, of one measure. More throughput
// is better, less CPU and less time are.
type compared struct {
	Measure         string  `json:"measure"`
	Throughput      float64 `json:"throughput_to_etcd_mtls"`
	CPU             float64 `json:"cpu_to_etcd_mtls"`
	ThroughputPlain float64 `json:"throughput_to_etcd_plain,omitempty"`
	CPUPlain        float64 `json:"cpu_to_etcd_plain,omitempty"`
	P50             float64 `json:"p50_to_etcd_mtls,omitempty"`
}

func newReport(ctx context.Context, s settings) *report {
	r := &report{
		Date:    time.Now().UTC().Format(time.DateOnly),
		Machine: thisMachine(),
		Versions: map[string]string{
			"cleat":     versionOf(ctx, s.cleatd),
			"etcd":      versionOf(ctx, s.etcd),
			"client/v3": moduleVersion("go.etcd.io/etcd/client/v3"),
			"go":        runtime.Version(),
		},
		Rounds: s.rounds, Seconds: s.length.Seconds(), Quick: s.quick, Long: s.long,
	}
	if s.members > 1 {
		r.Members = s.members
	}
	return r
}

// add keeps a round's figures. Rows stand in the order they were first met.
func (r *report) add(m measure, contender string, f figures) {
	for i := range r.Rows {
		if w := &r.Rows[i]; w.Measure == m.name && w.Contender == contender {
			w.Rounds = append(w.Rounds, f)
			w.Median = medians(quiet(w.Rounds))
			return
		}
	}
	r.Rows = append(r.Rows, row{m.name, m.unit, contender, f, []figures{f}})
}

func (r *report) row(measure, contender string) (figures, bool) {
	for _, w := range r.Rows {
		if w.Measure == measure && w.Contender == contender {
			return w.Median, true
		}
	}
	return figures{}, false
}

// measures lists the names, each once.
func (r *report) measures() (names []string) {
	for _, w := range r.Rows {
		if len(names) == 0 || names[len(names)-1] != w.Measure {
			names = append(names, w.Measure)
		}
	}
	return names
}

// sort brings a measure's rows together; they come round by round and, in a
// scene of several measures, contender by contender.
func (r *report) sort(order []scene) {
	var sorted []row
	for _, sc := range order {
		for _, m := range sc.measures {
			for _, w := range r.Rows {
				if w.Measure == m.name {
					sorted = append(sorted, w)
				}
			}
		}
	}
	r.Rows = sorted
}

// compare fills in the ratios of the measures that both took part in.
func (r *report) compare() {
	r.Ratios = nil
	for _, name := range r.measures() {
		cleat, ours := r.row(name, cleatTLS)
		tls, theirs := r.row(name, etcdTLS)
		if !ours || !theirs {
			continue
		}
		plain, _ := r.row(name, etcdPlain)
		r.Ratios = append(r.Ratios, compared{name,
			ratio(cleat.Throughput, tls.Throughput), ratio(cleat.CPU, tls.CPU),
			ratio(cleat.Throughput, plain.Throughput), ratio(cleat.CPU, plain.CPU),
			ratio(cleat.P50, tls.P50)})
	}
}

// write leaves the files in dir: a plot only of ratios.
func (r *report) write(dir string) error {
	encoded, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files := map[string]string{"bench.json": string(encoded) + "\n", "bench.md": r.markdown()}
	if len(r.Ratios) > 0 {
		files["bench.svg"] = r.plot()
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// thisMachine leaves out what /proc does not tell.
func thisMachine() machine {
	m := machine{Cores: runtime.NumCPU()}
	cpus, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(cpus)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(model)
			break
		}
	}
	memory, _ := os.ReadFile("/proc/meminfo")
	m.Memory, _ = parseKB(memory, "MemTotal:")
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	m.Kernel = strings.TrimSpace(string(kernel))
	return m
}

// versionOf is the last word of the first line of what a program says to
// --version.
func versionOf(ctx context.Context, program string) string {
	said, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n")
	return first[strings.LastIndexByte(first, ' ')+1:]
}

func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "unknown"
}

// legend tells where the figures come from, in a line.
func (r *report) legend() string {
	what := ""
	if r.Members > 1 {
		what = fmt.Sprintf(" · clusters of %d on one machine", r.Members)
	}
	return fmt.Sprintf("%s · %s, %d cores shared with the client, %.0f GB, Linux %s · cleat %s · etcd %s · client/v3 %s · medians of %d × %gs%s",
		r.Date, r.Machine.CPU, r.Machine.Cores, float64(r.Machine.Memory)/1e9, r.Machine.Kernel,
		r.Versions["cleat"], r.Versions["etcd"], r.Versions["client/v3"], r.Rounds, r.Seconds, what)
}
