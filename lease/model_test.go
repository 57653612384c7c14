// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// promise is what a client was told: its lease lives until then at least, and
// time without a leader does not count. Each restart may add the lease's whole
// time to the latest end.
type promise struct {
	ttl      time.Duration
	earliest time.Time
	latest   time.Time
}

// TestPromisesHoldOverRestarts lets clients grant, renew and revoke at random
// while the leadership comes and goes and proposals fail, and checks that no
// lease ended before its time, nor later than restarts and faults explain.
func TestPromisesHoldOverRestarts(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) { promises(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func promises(t *testing.T, random *rand.Rand) {
	m := newMember(t)
	told := make(map[int64]*promise)
	stop := m.lead()
	next := int64(1)
	for range 400 {
		time.Sleep(time.Duration(random.Int64N(int64(30 * time.Second))))
		synctest.Wait()
		checkPromises(t, m, told)
		switch id := random.Int64N(next) + 1; random.IntN(8) {
		case 0:
			stop()
			off := time.Duration(random.Int64N(int64(time.Minute)))
			time.Sleep(off)
			m.open()
			stop = m.lead()
			for _, p := range told {
				p.earliest = p.earliest.Add(off) // nobody measured it
				p.latest = p.latest.Add(off + p.ttl)
			}
		case 1:
			m.setFault(errors.New("no quorum"))
			off := time.Duration(random.Int64N(int64(time.Minute)))
			time.Sleep(off)
			m.setFault(nil)
			for _, p := range told {
				p.latest = p.latest.Add(off + maxBackOff)
			}
		case 2, 3:
			ttl := 2 + random.Int64N(900)
			m.grant(next, ttl)
			told[next] = renewedPromise(ttl)
			next++
		case 4:
			if _, known := m.table.Lookup(id); known {
				m.revoke(id)
				delete(told, id)
			}
		default:
			if ttl, err := m.renew(id); err == nil {
				told[id] = renewedPromise(ttl)
			}
		}
	}
	stop()
}

func renewedPromise(ttl int64) *promise {
	end := time.Now().Add(seconds(ttl))
	return &promise{ttl: seconds(ttl), earliest: end, latest: end}
}

func checkPromises(t *testing.T, m *member, told map[int64]*promise) {
	t.Helper()
	for id, p := range told {
		ended, gone := m.expired[id]
		switch {
		case gone && ended.Before(p.earliest):
			t.Fatalf("lease %d ended %v too early", id, p.earliest.Sub(ended))
		case gone && ended.After(p.latest), !gone && time.Now().After(p.latest):
			t.Fatalf("lease %d ended later than %v", id, p.latest)
		case gone:
			delete(told, id)
		}
	}
}
