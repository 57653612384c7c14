// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"fmt"
	"math"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/admin"
)

// reading is a member's metrics at one moment of its own clock.
type reading struct {
	at       time.Time
	families map[string]*dto.MetricFamily
}

func readMetrics(s *admin.StatusResponse) (reading, error) {
	r := reading{s.GetTime().AsTime(), map[string]*dto.MetricFamily{}}
	for _, raw := range s.GetMetrics() {
		family := new(dto.MetricFamily)
		if err := proto.Unmarshal(raw, family); err != nil {
			return r, fmt.Errorf("read the metrics of %s: %w", s.GetName(), err)
		}
		r.families[family.GetName()] = family
	}
	return r, nil
}

// labelled are the values of a label that count; nil: all.
type labelled struct {
	name   string
	values []string
}

func (l labelled) fits(m *dto.Metric) bool {
	if l.name == "" {
		return true
	}
	for _, pair := range m.GetLabel() {
		if pair.GetName() == l.name {
			return slices.Contains(l.values, pair.GetValue())
		}
	}
	return false
}

// sum adds up what a metric has for all labels that fit.
func (r reading) sum(name string, which labelled) (total float64) {
	for _, m := range r.families[name].GetMetric() {
		if which.fits(m) {
			total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return total
}

// value is a metric without labels.
func (r reading) value(name string) float64 { return r.sum(name, labelled{}) }

// rate is by how much a counter grew a second since an earlier reading. A member
// that began anew meanwhile counts from zero again: nothing is known then.
func (r reading) rate(before reading, name string, which labelled) float64 {
	grown, span := r.sum(name, which)-before.sum(name, which), r.at.Sub(before.at).Seconds()
	if grown < 0 || span <= 0 {
		return 0
	}
	return grown / span
}

// quantile is a time that a share of what a histogram counted since an earlier
// reading did not exceed: the end of its bucket, which is a little more than the
// truth. It is zero if nothing was counted, and the last bucket's beginning if
// that has no end.
func (r reading) quantile(before reading, name string, which labelled, share float64) time.Duration {
	now, was := r.buckets(name, which), before.buckets(name, which)
	var bounds []float64
	for bound := range now {
		bounds = append(bounds, bound)
	}
	slices.Sort(bounds)
	if len(bounds) == 0 {
		return 0
	}
	last := bounds[len(bounds)-1]
	total := now[last] - was[last]
	if total <= 0 {
		return 0
	}
	known := 0.0
	for _, bound := range bounds {
		if !math.IsInf(bound, 1) {
			known = bound
		}
		if now[bound]-was[bound] >= share*total {
			break
		}
	}
	return time.Duration(known * float64(time.Second))
}

// buckets are the counts up to each bound, with all beyond them.
func (r reading) buckets(name string, which labelled) map[float64]float64 {
	counts := map[float64]float64{}
	for _, m := range r.families[name].GetMetric() {
		if !which.fits(m) {
			continue
		}
		for _, b := range m.GetHistogram().GetBucket() {
			counts[b.GetUpperBound()] += float64(b.GetCumulativeCount())
		}
		if h := m.GetHistogram(); h != nil && (len(h.GetBucket()) == 0 || !math.IsInf(h.GetBucket()[len(h.GetBucket())-1].GetUpperBound(), 1)) {
			counts[math.Inf(1)] += float64(h.GetSampleCount())
		}
	}
	return counts
}
