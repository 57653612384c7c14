// SPDX-License-Identifier: Apache-2.0

package api

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Why something is shed, as the metric names it.
const (
	shedRequest = "requests"         // the door has too many under way
	shedLarge   = "answer_too_large" // one answer needs more than one may have
	shedWaited  = "answers"          // large reads have waited too long
	shedLine    = "waiting"          // too many large reads wait
	shedStalled = "stalled"          // a connection that took nothing was closed
)

// errTooMany is etcd's, which has it for another reason: there it is what is
// agreed upon and not applied that has become too much.
var errTooMany = rpctypes.ErrGRPCRequestTooManyRequests

// shedPause is left between two lines of the log about one reason.
const shedPause = 10 * time.Second

// shedding counts what is shed, and tells of it now and then.
type shedding struct {
	log    *slog.Logger
	counts *prometheus.CounterVec
	told   map[string]*atomic.Int64 // when, in nanoseconds; the map does not change
}

func newShedding(m *metrics, log *slog.Logger) *shedding {
	s := &shedding{log: log, counts: m.shed, told: make(map[string]*atomic.Int64)}
	for _, reason := range []string{shedRequest, shedLarge, shedWaited, shedLine, shedStalled} {
		s.counts.WithLabelValues(reason)
		s.told[reason] = new(atomic.Int64)
	}
	return s
}

// refuse notes a refusal and returns it.
func (s *shedding) refuse(reason string, err error) error {
	s.note(reason)
	return err
}

func (s *shedding) note(reason string) {
	s.counts.WithLabelValues(reason).Inc()
	told, now := s.told[reason], time.Now().UnixNano()
	last := told.Load()
	if last != 0 && time.Duration(now-last) < shedPause || !told.CompareAndSwap(last, now) {
		return
	}
	s.log.Warn("requests are shed, so that memory and others' time suffice", "reason", reason,
		"metric", "cleat_shed_total")
}
