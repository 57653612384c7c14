// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// A grid is a table before it is known how it is shown.
type grid struct {
	title, note string
	head        []string
	rows        [][]string
}

// grids are the report's tables; one without rows is left out.
func (r *report) grids() (all []grid) {
	for _, g := range []grid{r.ratioGrid(), r.figureGrid(), r.storageGrid(), r.backupGrid(), r.leaseGrid(), r.stalledGrid(), r.crowdGrid()} {
		if len(g.rows) > 0 {
			all = append(all, g)
		}
	}
	return all
}

func (r *report) ratioGrid() grid {
	g := grid{title: "Ratios",
		note: "cleat over mutual TLS against etcd. Throughput: more is better. CPU, the servers' time an operation, and p50, what half of the calls take at most: less is better.",
		head: []string{"measure", "throughput : etcd mTLS", "p50 : etcd mTLS", "CPU : etcd mTLS"}}
	plain := slices.ContainsFunc(r.Ratios, func(c compared) bool { return c.ThroughputPlain > 0 })
	if plain {
		g.head = append(g.head, "throughput : etcd plain", "CPU : etcd plain")
	}
	for _, c := range r.Ratios {
		cells := []string{c.Measure, times(c.Throughput), times(c.P50), times(c.CPU)}
		if plain {
			cells = append(cells, times(c.ThroughputPlain), times(c.CPUPlain))
		}
		g.rows = append(g.rows, cells)
	}
	return g
}

func (r *report) figureGrid() grid {
	g := grid{title: "Figures",
		note: "Others: the share of the machine that neither side used; rounds in which it was 8 % or more are left out where there is another, and marked where there is none.",
		head: []string{"measure", "contender", "throughput/s", "p50 ms", "p99 ms", "CPU µs/op", "RSS MB", "others"}}
	if r.Members > 1 {
		g.note = fmt.Sprintf("CPU and RSS are those of the %d members together; clients are spread over them. ", r.Members) + g.note
	} else {
		g.note = "The floor is a grpc-go server over mutual TLS that does nothing: what client, gRPC and TLS cost alone. " + g.note
	}
	for _, w := range r.Rows {
		f := w.Median
		g.rows = append(g.rows, []string{w.Measure, w.Contender, count(f.Throughput) + " " + w.Unit,
			fixed(f.P50, 2), fixed(f.P99, 2), fixed(f.CPU, 1), fixed(f.Memory/1e6, 0), blur(f.Others)})
	}
	return g
}

func (r *report) storageGrid() grid {
	g := grid{title: "Storage", head: []string{""}}
	if len(r.Storage) == 0 {
		return g
	}
	g.note = count(float64(r.Storage[0].Keys)) + " keys of 32 bytes with values of 256, in transactions of 100 puts from 8 clients."
	for _, h := range r.Storage {
		g.head = append(g.head, h.Contender)
	}
	line := func(name string, of func(held) string) {
		cells := []string{name}
		for _, h := range r.Storage {
			cells = append(cells, of(h))
		}
		g.rows = append(g.rows, cells)
	}
	megabytes := func(n int64) string { return count(float64(n)/1e6) + " MB" }
	seconds := func(s float64) string { return fixed(s, 2) + " s" }
	line("load", func(h held) string { return count(h.LoadPerSecond) + " keys/s" })
	line("server CPU a key", func(h held) string { return fixed(h.CPU, 1) + " µs" })
	line("resident after load", func(h held) string { return megabytes(h.Memory) })
	line("disk after load", func(h held) string { return megabytes(h.Disk) })
	line("SIGTERM to end", func(h held) string { return seconds(h.Stop) })
	line("start to first linearizable get", func(h held) string { return seconds(h.Reopen) })
	line("the same after kill -9", func(h held) string { return seconds(h.ReopenKilled) })
	line("resident after that", func(h held) string { return megabytes(h.MemoryOpened) })
	line("disk after deleting all and compacting", func(h held) string { return megabytes(h.DiskDeleted) })
	line("others during the load", func(h held) string { return blur(h.Others) })
	line("settled after", func(h held) string { return seconds(h.SettledAfter) })
	return g
}

func (r *report) backupGrid() grid {
	g := grid{title: "Backups",
		head: []string{"contender", "snapshot", "saved in", "server CPU", "p99 of puts before", "meanwhile", "meanwhile : before", "RSS MB", "others"}}
	for _, k := range r.Backups {
		g.note = count(float64(k.Keys)) + " keys of 32 bytes with values of 256, fetched while 10 clients put 1,000 keys a second, each timed from when it was due."
		g.rows = append(g.rows, []string{k.Contender, count(float64(k.Bytes)/1e6) + " MB", fixed(k.Save, 2) + " s", fixed(k.CPU, 2) + " s",
			fixed(k.P99Idle, 2) + " ms", fixed(k.P99, 2) + " ms", times(k.Ratio), fixed(float64(k.Memory)/1e6, 0), blur(k.Others)})
	}
	return g
}

func (r *report) leaseGrid() grid {
	g := grid{title: "Leases",
		note: "Each with a key of 32 bytes. CPU is the server's time a lease; that to expire counts from the last renewal to the last deletion. Late: how long after all had run out that was.",
		head: []string{"leases", "contender", "grants/s", "CPU µs to grant", "renewals/s", "CPU µs to renew", "CPU µs to expire", "late", "RSS MB", "others"}}
	for _, a := range r.Leases {
		g.rows = append(g.rows, []string{count(float64(a.Leases)), a.Contender, count(a.GrantRate), fixed(a.Grant, 1), count(a.KeepAliveRate), fixed(a.KeepAlive, 1),
			fixed(a.Expire, 1), fixed(a.Late, 1) + " s", fixed(float64(a.Memory)/1e6, 0), blur(a.Others)})
	}
	return g
}

func (r *report) crowdGrid() grid {
	g := grid{title: "Many large lists",
		head: []string{"contender", "p50 of puts before", "meanwhile", "p99 before", "meanwhile", "meanwhile : before", "RSS MB at most", "survived", "lists answered", "refused", "failed", "others"}}
	for _, c := range r.Crowds {
		g.note = fmt.Sprintf("%d clients, each with a connection of its own, list %s MB (keys of 32 bytes with values of %d) again and again for %.0f s, while 10 clients put 1,000 keys a second, each timed from when it was due. %s. The listers are one process, as nice as can be, that leaves the answers encoded; it shares the cores with the member all the same.",
			c.Listers, count(float64(c.Bytes)/1e6), listValue, besideLists.Seconds(), memoryLimit)
		survived := "yes"
		if c.Survived < 1 {
			survived = "no"
		}
		g.rows = append(g.rows, []string{c.Contender, fixed(c.P50Idle, 2) + " ms", fixed(c.P50, 2) + " ms", fixed(c.P99Idle, 2) + " ms", fixed(c.P99, 2) + " ms",
			times(c.Ratio), fixed(c.Peak/1e6, 0), survived, fixed(c.Listed, 0), fixed(c.Refused, 0), fixed(c.Failed, 0), blur(c.Others)})
	}
	return g
}

func (r *report) stalledGrid() grid {
	g := grid{title: "A watcher of everything that stops reading",
		head: []string{"contender", "events/s without", "events/s with", "with : without", "CPU µs/event without", "CPU µs/event with",
			"RSS growth without", "RSS growth with", "reads all in", "others"}}
	for _, s := range r.Stalled {
		g.note = fmt.Sprintf("%s events of %s keys, a watcher each, written in transactions of 100 by 8 clients.",
			count(float64(s.Events)), count(float64(s.Watchers)))
		g.rows = append(g.rows, []string{s.Contender, count(s.Without), count(s.With), fixed(s.Ratio, 2), fixed(s.CPUWithout, 1), fixed(s.CPUWith, 1),
			count(s.GrowthWithout/1e6) + " MB", count(s.GrowthWith/1e6) + " MB", fixed(s.CatchUp, 2) + " s", blur(s.Others)})
	}
	return g
}

// text is for a terminal.
func (r *report) text() string {
	var b strings.Builder
	for _, g := range r.grids() {
		fmt.Fprintf(&b, "\n%s\n", strings.ToUpper(g.title))
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, strings.Join(g.head, "\t"))
		for _, cells := range g.rows {
			fmt.Fprintln(w, strings.Join(cells, "\t"))
		}
		_ = w.Flush() // A strings.Builder takes everything.
	}
	fmt.Fprintf(&b, "\n%s\n", r.legend())
	return b.String()
}

// markdown is bench.md, whose tables the README takes over.
func (r *report) markdown() string {
	var b strings.Builder
	b.WriteString("# cleat beside etcd\n\nMade by `" + r.made() + "`. " + r.legend() + ".\n")
	if len(r.Ratios) > 0 {
		b.WriteString("\n![ratios](bench.svg)\n")
	}
	for _, g := range r.grids() {
		fmt.Fprintf(&b, "\n## %s\n", g.title)
		if g.note != "" {
			b.WriteString(g.note + "\n")
		}
		fmt.Fprintf(&b, "\n| %s |\n|---|%s\n", strings.Join(g.head, " | "), strings.Repeat("---:|", len(g.head)-1))
		for _, cells := range g.rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
		}
	}
	return b.String()
}

func fixed(v float64, decimals int) string { return strconv.FormatFloat(v, 'f', decimals, 64) }

func percent(share float64) string { return fixed(100*share, 0) + " %" }

// blur is the others' share, marked where it makes a figure doubtful.
func blur(share float64) string {
	if share >= noisy {
		return percent(share) + ", noisy"
	}
	return percent(share)
}

func times(v float64) string {
	if v == 0 {
		return "–"
	}
	return fixed(v, 2) + " ×"
}

// count is a whole number with commas, as the measures' names have them;
// below 100 it keeps a decimal.
func count(v float64) string {
	if v < 0 {
		return "-" + count(-v)
	}
	if v < 100 {
		return fixed(v, 1)
	}
	digits := fixed(v, 0)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// made is the command that makes the same report.
func (r *report) made() string {
	switch {
	case r.Long:
		return "make bench BENCH=-long"
	case r.Members > 1:
		return fmt.Sprintf("make bench BENCH='-members %d'", r.Members)
	}
	return "make bench"
}
