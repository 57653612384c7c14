// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"bytes"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/cleatd/cleat/admin"
)

// The kinds of requests, by their methods.
var (
	readMethods  = []string{"Range", "RangeStream"}
	writeMethods = []string{"Put", "DeleteRange", "Txn", "Compact"}
	leaseMethods = []string{"LeaseGrant", "LeaseRevoke", "LeaseKeepAlive", "LeaseTimeToLive", "LeaseLeases"}
)

const (
	metricHandled  = "grpc_server_handled_total"
	metricReceived = "grpc_server_msg_received_total" // a stream's requests are its messages
	metricTook     = "etcd_server_request_duration_seconds"
	metricEvents   = "etcd_debugging_mvcc_events_total"
	metricWatchers = "etcd_debugging_mvcc_watcher_total"
	metricLeases   = "cleat_leases"
	metricMemory   = "process_resident_memory_bytes"
	metricCPU      = "process_cpu_seconds_total"
	metricFsync    = "etcd_disk_wal_fsync_duration_seconds"
)

var topMetrics = []string{
	metricHandled, metricReceived, metricTook, metricEvents, metricWatchers, metricLeases, metricMemory, metricCPU, metricFsync,
}

// figures are what there is to see of one member. Rates are a second; times are
// those that half, or 99 of a hundred, did not exceed.
type figures struct {
	Name      string  `json:"name"`
	ID        string  `json:"id"`
	Role      string  `json:"role"`
	Unreached string  `json:"unreached,omitempty"`
	Reads     float64 `json:"reads_per_second"`
	ReadP50   float64 `json:"read_p50_seconds"`
	ReadP99   float64 `json:"read_p99_seconds"`
	Writes    float64 `json:"writes_per_second"`
	WriteP50  float64 `json:"write_p50_seconds"`
	WriteP99  float64 `json:"write_p99_seconds"`
	Leasing   float64 `json:"lease_requests_per_second"`
	Other     float64 `json:"other_requests_per_second"`
	Revision  int64   `json:"revision"`
	Changes   float64 `json:"revisions_per_second"`
	Events    float64 `json:"events_per_second"`
	Watchers  float64 `json:"watchers"`
	Leases    float64 `json:"leases"`
	Memory    float64 `json:"memory_bytes"`
	CPU       float64 `json:"cpu_cores"`
	FsyncP50  float64 `json:"fsync_p50_seconds"`
	FsyncP99  float64 `json:"fsync_p99_seconds"`
	Behind    int64   `json:"behind"`
}

// frame is all members at one moment.
type frame struct {
	Time    time.Time `json:"time"`
	Cluster string    `json:"cluster"`
	Members []figures `json:"members"`
}

// taken is what was asked of all at one moment.
type taken struct {
	status   *admin.StatusResponse
	readings map[uint64]reading
}

func take(s *admin.StatusResponse) (taken, error) {
	t := taken{s, map[uint64]reading{}}
	for _, m := range s.GetMembers() {
		if m.GetStatus() == nil {
			continue
		}
		r, err := readMetrics(m.GetStatus())
		if err != nil {
			return t, err
		}
		t.readings[m.GetId()] = r
	}
	return t, nil
}

// since compares two moments.
func (t taken) since(before taken) frame {
	f := frame{Time: t.status.GetTime().AsTime(), Cluster: fmt.Sprintf("%x", t.status.GetClusterId())}
	for _, m := range t.status.GetMembers() {
		row := standing(t.status, m)
		one := figures{Name: row[0], ID: row[1], Role: row[2], Unreached: m.GetUnreached()}
		if own := m.GetStatus(); own != nil {
			now := t.readings[m.GetId()]
			was, known := before.readings[m.GetId()]
			if !known {
				was = now // it was not there: no rates yet
			}
			one.fill(now, was)
			one.Revision, one.Behind = own.GetDatabase().GetRevision(), behind(t.status, own)
			if earlier := memberIn(before.status, m.GetId()).GetStatus(); earlier != nil && now.at.After(was.at) {
				one.Changes = max(0, float64(one.Revision-earlier.GetDatabase().GetRevision())/now.at.Sub(was.at).Seconds())
			}
		}
		f.Members = append(f.Members, one)
	}
	return f
}

func (f *figures) fill(now, was reading) {
	method := func(names []string) labelled { return labelled{"grpc_method", names} }
	kind := func(names []string) labelled { return labelled{"type", names} }
	seconds := func(name string, which labelled, share float64) float64 {
		return now.quantile(was, name, which, share).Seconds()
	}
	f.Reads, f.Writes = now.rate(was, metricHandled, method(readMethods)), now.rate(was, metricHandled, method(writeMethods))
	f.Leasing = now.rate(was, metricReceived, method(leaseMethods))
	f.Other = max(0, now.rate(was, metricReceived, labelled{})-now.rate(was, metricReceived, method(readMethods))-now.rate(was, metricReceived, method(writeMethods))-f.Leasing)
	f.ReadP50, f.ReadP99 = seconds(metricTook, kind(readMethods), 0.5), seconds(metricTook, kind(readMethods), 0.99)
	f.WriteP50, f.WriteP99 = seconds(metricTook, kind(writeMethods), 0.5), seconds(metricTook, kind(writeMethods), 0.99)
	f.FsyncP50, f.FsyncP99 = seconds(metricFsync, labelled{}, 0.5), seconds(metricFsync, labelled{}, 0.99)
	f.Events, f.CPU = now.rate(was, metricEvents, labelled{}), now.rate(was, metricCPU, labelled{})
	f.Watchers, f.Leases, f.Memory = now.value(metricWatchers), now.value(metricLeases), now.value(metricMemory)
}

// lines are the frame for a person: requests, then what the members are about.
func (f frame) lines() []string {
	var text bytes.Buffer
	fmt.Fprintf(&text, "cluster %s, %s, %s\n\n", f.Cluster, count(len(f.Members), "member"), f.Time.Local().Format(time.TimeOnly))
	columns := func(heading string, row func(figures) []any) {
		to := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(to, strings.Join(strings.Fields(heading), "\t")+"\t")
		for _, m := range f.Members {
			for i, cell := range row(m) {
				if m.Unreached != "" && i > 0 {
					cell = "?"
				}
				fmt.Fprintf(to, "%v\t", cell)
			}
			fmt.Fprintln(to)
		}
		_ = to.Flush() // into memory
	}
	columns("MEMBER ROLE READS/S P50 P99 WRITES/S P50 P99 LEASE/S OTHER/S", func(m figures) []any {
		return []any{m.Name, m.Role, whole(m.Reads), atMost(m.ReadP50), atMost(m.ReadP99), whole(m.Writes), atMost(m.WriteP50), atMost(m.WriteP99), whole(m.Leasing), whole(m.Other)}
	})
	text.WriteString("\n")
	columns("MEMBER REVISION /S EVENTS/S WATCHERS LEASES MEMORY CPU FSYNC50 FSYNC99 BEHIND", func(m figures) []any {
		return []any{m.Name, m.Revision, whole(m.Changes), whole(m.Events), whole(m.Watchers), whole(m.Leases), humanize.IBytes(uint64(m.Memory)),
			fmt.Sprintf("%.0f%%", m.CPU*100), atMost(m.FsyncP50), atMost(m.FsyncP99), humanize.Comma(m.Behind)}
	})
	for _, m := range f.Members {
		if m.Unreached != "" {
			fmt.Fprintf(&text, "\n%s (%s) is not reached: %s\n", m.Name, m.ID, m.Unreached)
		}
	}
	return strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
}

func whole(n float64) string { return humanize.Comma(int64(n + 0.5)) }

// atMost is a time as its bucket knows it.
func atMost(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	return rough(time.Duration(seconds * float64(time.Second))).String()
}

// rough is a time span in three digits.
func rough(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}
