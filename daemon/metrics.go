// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/version"

	"github.com/cleatd/cleat/api"
)

// memberMetrics tells the metrics of the member as a whole. Names and meanings are
// etcd's where it has them. What may be absent is left out: a quota of zero would
// make every dashboard divide by it.
type memberMetrics struct{ *Daemon }

var (
	descID      = describe("etcd_server_id", "1, with this member's id.", "server_id")
	descVersion = describe("etcd_server_version", "1, with the version of the etcd whose API this is.", "server_version")
	descCluster = describe("etcd_cluster_version", "1, with the version of the cluster's API.", "cluster_version")
	descGo      = describe("etcd_server_go_version", "1, with the version of Go.", "server_go_version")
	descBuild   = describe("cleat_build_info", "1, with the version of cleat.", "version")
	descAlarm   = describe("etcd_debugging_server_alarms", "1 for each alarm that is raised.", "server_id", "alarm_type")
	descKnown   = describe("etcd_network_known_peers", "1 for each other member.", "Local", "Remote")
	descQuota   = describe("etcd_server_quota_backend_bytes", "The quota; absent if there is none.")
	descFree    = describe("cleat_disk_free_bytes", "Free bytes on the disk of the data directory.")
	descReserve = describe("cleat_disk_reserve_bytes", "Free bytes below which writes are refused.")
	descFDs     = describe("os_fd_used", "Files that are open.")
	descFDLimit = describe("os_fd_limit", "The most files that may be open.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (m memberMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descID, descVersion, descCluster, descGo, descBuild, descAlarm, descKnown, descQuota, descFree, descReserve, descFDs, descFDLimit,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m memberMetrics) Collect(out chan<- prometheus.Metric) {
	tell := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	own := etcdID(m.dir.memberID())
	tell(descID, 1, own)
	tell(descVersion, 1, version.Version)
	tell(descCluster, 1, version.Cluster(api.ClusterVersion))
	tell(descGo, 1, runtime.Version())
	tell(descBuild, 1, m.version)
	for _, a := range m.machine.Alarms() {
		tell(descAlarm, 1, etcdID(a.Member), a.Type.String())
	}
	if raised, _ := m.noSpace(); !raised && !m.space.Enough() {
		tell(descAlarm, 1, own, pb.AlarmType_NOSPACE.String())
	}
	for _, other := range m.node.Members() {
		if other.ID != m.dir.memberID() {
			tell(descKnown, 1, own, etcdID(other.ID))
		}
	}
	if m.config().QuotaBytes > 0 {
		tell(descQuota, float64(m.config().QuotaBytes))
	}
	if free, total, err := diskSpace(m.dir.path); err == nil {
		tell(descFree, float64(free))
		tell(descReserve, float64(reserveFor(m.config().ReserveBytes, total)))
	}
	m.files(tell)
}

func (m memberMetrics) files(tell func(*prometheus.Desc, float64, ...string)) {
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		tell(descFDs, float64(len(open)))
	}
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		tell(descFDLimit, float64(limit.Cur))
	}
}

// etcdID writes a member's id as etcd does, without leading zeros.
func etcdID(id uint64) string { return strconv.FormatUint(id, 16) }

// openMetrics registers them, once there is a member to tell of.
func (d *Daemon) openMetrics() error {
	if err := d.registry.Register(memberMetrics{d}); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return nil
}
