// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// held is what keeping many keys costs one contender.
type held struct {
	Contender     string  `json:"contender"`
	Keys          int     `json:"keys"`
	LoadPerSecond float64 `json:"load_keys_per_s"`
	CPU           float64 `json:"server_cpu_us_per_key"`
	Memory        int64   `json:"rss_bytes_after_load"`
	Disk          int64   `json:"disk_bytes_after_load"`
	Others        float64 `json:"cpu_share_of_others"`  // during the load
	Stop          float64 `json:"stop_s"`               // SIGTERM until the process has ended
	Reopen        float64 `json:"reopen_s"`             // start until the first linearizable get
	ReopenKilled  float64 `json:"reopen_after_kill_s"`  // the same after kill -9
	MemoryOpened  int64   `json:"rss_bytes_reopened"`   // right after that get
	DiskDeleted   int64   `json:"disk_bytes_deleted"`   // all deleted and compacted, no defragmentation
	SettledAfter  float64 `json:"disk_settled_after_s"` // when it stopped changing
}

func (h held) shared() float64 { return h.Others }

// storageName selects the measure with -run.
const storageName = "storage"

// storage keeps a million keys in cleat and in etcd, once each.
func (b bench) storage(ctx context.Context, report *report) error {
	if !b.only.MatchString(storageName) {
		return nil
	}
	for _, c := range b.rivals() {
		h, err := b.hold(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: storage: %w", c.name, err)
		}
		report.Storage = append(report.Storage, h)
		fmt.Fprintf(b.log, "storage  %s  %+v\n", c.name, h)
	}
	return nil
}

// rivals are the two that the long measures compare.
func (b bench) rivals() []contender {
	return slices.DeleteFunc(slices.Clone(b.contenders), func(c contender) bool {
		return c.name != cleatTLS && c.name != etcdTLS
	})
}

func (b bench) hold(ctx context.Context, c contender) (h held, err error) {
	var m *member // the last that was loaded; all are alike
	defer func() {
		if m != nil {
			m.close()
		}
	}()
	h, err = quieter(b.quick, func() (held, error) {
		if m != nil {
			m.close()
		}
		all, err := launch(ctx, c, b.root, 1)
		if err != nil {
			return held{}, err
		}
		m = all[0]
		return b.fill(ctx, m)
	})
	if err != nil {
		return h, fmt.Errorf("load: %w", err)
	}
	began := time.Now()
	if err := m.end(syscall.SIGTERM); err != nil {
		return h, err
	}
	h.Stop = time.Since(began).Seconds()
	if h.Reopen, err = reopen(ctx, m); err != nil {
		return h, fmt.Errorf("restart: %w", err)
	}
	if err := m.end(syscall.SIGKILL); err != nil {
		return h, err
	}
	if h.ReopenKilled, err = reopen(ctx, m); err != nil {
		return h, fmt.Errorf("restart after kill: %w", err)
	}
	if h.MemoryOpened, err = memoryOf(m.pid()); err != nil {
		return h, err
	}
	if err := b.empty(ctx, m); err != nil {
		return h, fmt.Errorf("delete: %w", err)
	}
	h.DiskDeleted, h.SettledAfter, err = settled(ctx, m, b.settle)
	return h, err
}

// fill loads the keys from 8 clients.
func (b bench) fill(ctx context.Context, m *member) (h held, err error) {
	const writers = 8
	s, err := newStage(ctx, b.settings, cluster{m}, writers)
	if err != nil {
		return h, err
	}
	defer s.close()
	started, err := startMeter(m.pid())
	if err != nil {
		return h, err
	}
	if err := s.write(ctx, writers, b.keys, ordinal); err != nil {
		return h, err
	}
	seen, err := started.stop()
	if err != nil {
		return h, err
	}
	h.Contender, h.Keys = m.name, b.keys
	h.LoadPerSecond = float64(b.keys) / seen.elapsed.Seconds()
	h.CPU = float64(seen.cpu.Microseconds()) / float64(b.keys)
	h.Memory, h.Others = seen.memory, seen.others
	h.Disk, err = diskOf(m.data())
	return h, err
}

// reopen starts the process again and returns the seconds to its first answer.
func reopen(ctx context.Context, m *member) (float64, error) {
	began := time.Now()
	if err := m.start(); err != nil {
		return 0, err
	}
	if err := m.answers(ctx); err != nil {
		return 0, err
	}
	return time.Since(began).Seconds(), nil
}

// empty deletes everything, a 256th at a time because a request has a time
// limit, and compacts to the newest revision.
func (b bench) empty(ctx context.Context, m *member) error {
	s, err := newStage(ctx, b.settings, cluster{m}, 1)
	if err != nil {
		return err
	}
	defer s.close()
	var deleted, newest int64
	for first := range 256 {
		r, err := s.clients[0].Delete(ctx, fmt.Sprintf("%02x", first), clientv3.WithPrefix())
		if err != nil {
			return err
		}
		deleted, newest = deleted+r.Deleted, r.Header.Revision
	}
	if deleted != int64(b.keys) {
		return fmt.Errorf("%d of %d keys were there after two restarts", deleted, b.keys)
	}
	_, err = s.clients[0].Compact(ctx, newest, clientv3.WithCompactPhysical())
	return err
}

// settled watches the directory until it has not changed for a sixth of the
// limit, and says when the last change was.
func settled(ctx context.Context, m *member, limit time.Duration) (size int64, after float64, err error) {
	began := time.Now()
	changed := began
	for time.Since(began) < limit && time.Since(changed) < limit/6 {
		now, err := diskOf(m.data())
		if err != nil {
			return 0, 0, err
		}
		if now != size {
			size, changed = now, time.Now()
		}
		if err := until(ctx, time.Now().Add(limit/240)); err != nil {
			return 0, 0, err
		}
	}
	return size, changed.Sub(began).Seconds(), nil
}
