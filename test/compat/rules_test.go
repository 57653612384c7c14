// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	promtool  = ".build/promtool"
	rules     = "packaging/prometheus/cleat.rules.yml"
	ruleTests = "packaging/prometheus/cleat.rules_test.yml"
	dashboard = "packaging/grafana/cleat.json"
)

// top is a file's path from here.
func top(name string) string { return filepath.Join("..", "..", name) }

// Prometheus itself says whether the alerts are well formed, and fires them on
// what their tests make up.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	tool, err := filepath.Abs(top(promtool))
	if err == nil {
		_, err = os.Stat(tool)
	}
	if err != nil {
		t.Skipf("%v: bring it with make setup, on Debian", err)
	}
	for _, args := range [][]string{{"check", "rules", top(rules)}, {"test", "rules", top(ruleTests)}} {
		if said, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, said)
		}
	}
	text, err := os.ReadFile(top(rules))
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(top(ruleTests))
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(text), -1) {
		if fires := regexp.MustCompile(`alertname: ` + found[1] + `\n\s+exp_alerts:\n\s+- `); !fires.Match(tests) {
			t.Errorf("no test has %s fire", found[1])
		}
	}
}

var metricName = regexp.MustCompile(`\b(?:etcd|cleat|grpc|process|os|go)_[a-z0-9_]+`)

// An alert or a graph of a metric that no member has would be silent for ever.
func TestAlertsAndGraphsAreOfMetricsThatThereAre(t *testing.T) {
	t.Parallel()
	s := socket.open(t, "--quota-backend-bytes=1000000000")
	s.alarm(pb.AlarmRequest_ACTIVATE, pb.AlarmType_NOSPACE, 5)
	known := s.scrape().kinds
	used := make(map[string]string)
	alerts, err := os.ReadFile(top(rules))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range metricName.FindAllString(string(alerts), -1) {
		used[name] = rules
	}
	for _, expr := range expressions(t) {
		for _, name := range metricName.FindAllString(expr, -1) {
			used[name] = dashboard
		}
	}
	if len(used) < 20 {
		t.Fatalf("only %d metrics were found in use", len(used))
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		switch {
		case strings.HasSuffix(name, "_method") || strings.HasSuffix(name, "_code"): // labels
		case known[name] == "" && known[strings.TrimSuffix(name, "_bucket")] != "histogram":
			t.Errorf("%s, of %s, is no metric of a member", name, used[name])
		}
	}
}

// expressions are what the dashboard asks Prometheus.
func expressions(t *testing.T) (found []string) {
	t.Helper()
	text, err := os.ReadFile(top(dashboard))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			found = append(found, target.Expr)
		}
	}
	return found
}
