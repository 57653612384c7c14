// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestLeaseEndsAtItsTimeNotBefore(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		defer m.lead()()
		m.grant(1, 10)
		m.grant(2, 3)
		time.Sleep(3*time.Second - tick) // of a bubble, as in every story: no time passes outside
		m.wantAlive(2, true)
		time.Sleep(tick)
		m.wantAlive(2, false)
		time.Sleep(7*time.Second - tick)
		m.wantAlive(1, true)
		time.Sleep(tick)
		m.wantAlive(1, false)
		if n := counted(t, m.metrics, "etcd_debugging_server_lease_expired_total"); n != 2 {
			t.Errorf("%v leases counted as expired, want 2", n)
		}
	})
}

func TestRenewedLeaseLivesItsWholeTimeAgain(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		defer m.lead()()
		m.grant(1, 10)
		for range 5 {
			time.Sleep(9 * time.Second)
			if ttl, err := m.renew(1); ttl != 10 || err != nil {
				t.Fatalf("renewed with %d, %v", ttl, err)
			}
			if left, err := m.keeper.Remaining(1); left != 10*time.Second || err != nil {
				t.Fatalf("%v left, %v", left, err)
			}
		}
		time.Sleep(10*time.Second - tick)
		m.wantAlive(1, true)
		time.Sleep(tick)
		m.wantAlive(1, false)
		if n := counted(t, m.metrics, "etcd_debugging_lease_renewed_total"); n != 5 {
			t.Errorf("%v renewals counted, want 5", n)
		}
	})
}

func TestGrantIsKnownAtOnce(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		defer m.lead()()
		m.grant(1, 10)
		if _, err := m.renew(1); err != nil {
			t.Error(err)
		}
		m.revoke(1)
		_, err := m.renew(1)
		wantErr(t, err, ErrNotFound)
		_, err = m.keeper.Remaining(1)
		wantErr(t, err, ErrNotFound)
	})
}

func TestLeaseGrantedAgainHasItsOwnTime(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		defer m.lead()()
		m.grant(1, 10)
		time.Sleep(9 * time.Second)
		m.revoke(1)
		m.grant(1, 20)
		time.Sleep(20*time.Second - tick)
		m.wantAlive(1, true)
		time.Sleep(tick)
		m.wantAlive(1, false)
	})
}

func TestExpiryInFlightSparesALeaseGrantedAgain(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		defer m.lead()()
		m.grant(1, 10)
		release := m.holdProposals()
		time.Sleep(10 * time.Second)
		m.wantAlive(1, true)
		m.revoke(1)
		m.grant(1, 10)
		release()
		time.Sleep(10*time.Second - tick)
		m.wantAlive(1, true)
		time.Sleep(tick)
		m.wantAlive(1, false)
	})
}

func TestExpiryInFlightRefusesRenewal(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		defer m.lead()()
		m.grant(1, 10)
		release := m.holdProposals()
		time.Sleep(10 * time.Second)
		m.wantAlive(1, true)
		refused := make(chan error)
		go func() { _, err := m.renew(1); refused <- err }()
		time.Sleep(time.Second)
		if left, err := m.keeper.Remaining(1); left != 0 || err != nil {
			t.Errorf("%v left, %v; want none", left, err)
		}
		select {
		case err := <-refused:
			t.Errorf("told %v while the lease was in the table", err)
		default:
		}
		release()
		wantErr(t, <-refused, ErrNotFound)
		m.wantAlive(1, false)
	})
}

func TestRefusedRenewalWaitsNoLongerThanItsContext(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		defer m.lead()()
		m.grant(1, 10)
		defer m.holdProposals()()
		time.Sleep(10 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := m.keeper.Renew(ctx, 1)
		wantErr(t, err, context.DeadlineExceeded)
	})
}

func TestExpiryIsRetriedUntilTheLeaseIsGone(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		defer m.lead()()
		for id := range int64(3 * expireBatch) {
			m.grant(id+1, 10)
		}
		m.setFault(errors.New("no quorum"))
		time.Sleep(time.Minute)
		m.wantAlive(1, true)
		m.setFault(nil)
		time.Sleep(maxBackOff)
		m.wantAlive(1, false)
		if m.table.Len() != 0 {
			t.Errorf("%d leases left", m.table.Len())
		}
	})
}

func TestShortLeaseRestartsWithItsWholeTime(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		m.grant(1, 60)
		stop := m.lead()
		time.Sleep(50 * time.Second)
		stop()
		_, err := m.renew(1)
		wantErr(t, err, ErrNotLeading)
		_, err = m.keeper.Remaining(1)
		wantErr(t, err, ErrNotLeading)
		time.Sleep(time.Hour) // nobody measures

		m.open()
		defer m.lead()()
		time.Sleep(60*time.Second - tick)
		m.wantAlive(1, true)
		time.Sleep(tick)
		m.wantAlive(1, false)
	})
}

func TestLongLeaseRestartsFromItsCheckpoint(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		m.grant(1, 3600)
		m.grant(2, 300)
		stop := m.lead()
		time.Sleep(14 * time.Minute)
		stop()
		if want := []map[int64]int64{{1: 3300}, {1: 3000}}; !slices.EqualFunc(m.checkpoints, want, maps.Equal) {
			t.Fatalf("checkpoints %v, want %v", m.checkpoints, want)
		}
		m.open()
		defer m.lead()()
		time.Sleep(3000*time.Second - tick)
		m.wantAlive(1, true)
		time.Sleep(tick)
		m.wantAlive(1, false)
	})
}

func TestLeaseRenewedSinceItsCheckpointRestartsWithItsWholeTime(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		m.grant(1, 3600)
		stop := m.lead()
		time.Sleep(11 * time.Minute)
		for range 3 {
			_, err := m.renew(1)
			must(t, err)
			time.Sleep(time.Minute)
		}
		stop()
		want := []map[int64]int64{{1: 3300}, {1: 3000}, {1: 3600}}
		if !slices.EqualFunc(m.checkpoints, want, maps.Equal) {
			t.Fatalf("checkpoints %v, want %v", m.checkpoints, want)
		}
		m.open()
		defer m.lead()()
		if left, err := m.keeper.Remaining(1); left != time.Hour || err != nil {
			t.Errorf("%v left, %v; want an hour", left, err)
		}
	})
}

func TestCheckpointInFlightSparesALeaseGrantedAgain(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		m.grant(1, 3600)
		stop := m.lead()
		release := m.holdProposals()
		time.Sleep(5*time.Minute + time.Second)
		m.revoke(1)
		m.grant(1, 3600)
		release()
		synctest.Wait()
		if len(m.checkpoints) != 1 {
			t.Errorf("checkpoints %v, want one", m.checkpoints)
		}
		defer m.restart(stop, 0)()
		if left, err := m.keeper.Remaining(1); left != time.Hour || err != nil {
			t.Errorf("%v left, %v; want an hour", left, err)
		}
	})
}

func TestRenewalIsRecordedAfterTheCheckpointInFlight(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		m.grant(1, 3600)
		stop := m.lead()
		release := m.holdProposals()
		time.Sleep(5*time.Minute + time.Second)
		renewed := make(chan error)
		go func() { _, err := m.renew(1); renewed <- err }()
		synctest.Wait()
		if m.held != 1 {
			t.Errorf("%d proposals at once, want the checkpoint alone", m.held)
		}
		release()
		must(t, <-renewed)
		stop()
		if want := []map[int64]int64{{1: 3300}, {1: 3600}}; !slices.EqualFunc(m.checkpoints, want, maps.Equal) {
			t.Errorf("checkpoints %v, want %v", m.checkpoints, want)
		}
	})
}

func TestRenewalThatCannotBeRecordedIsNotPromised(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		m.grant(1, 3600)
		defer m.lead()()
		time.Sleep(6 * time.Minute)
		fault := errors.New("no quorum")
		m.setFault(fault)
		_, err := m.renew(1)
		wantErr(t, err, fault)
		m.setFault(nil)
		_, err = m.renew(1)
		must(t, err)
		if last := m.checkpoints[len(m.checkpoints)-1]; last[1] != 3600 {
			t.Errorf("last checkpoint %v, want the whole time", last)
		}
	})
}

func TestADeposedMemberPromisesNoRenewal(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		m.grant(1, 10)
		defer m.lead()()
		m.deposed = errors.New("another leads")
		_, err := m.renew(1)
		wantErr(t, err, ErrNotLeading)
		m.deposed = nil
		_, err = m.renew(1)
		must(t, err)
	})
}

func TestLostLeadershipEndsWaiting(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		m.grant(1, 10)
		stop := m.lead()
		m.holdProposals()
		time.Sleep(10 * time.Second)
		refused := make(chan error)
		go func() { _, err := m.renew(1); refused <- err }()
		synctest.Wait()
		stop()
		wantErr(t, <-refused, ErrNotLeading)
		m.wantAlive(1, true)
	})
}

func TestRenewalAtAnotherLeaderCountsHere(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		m.grant(1, 10)
		defer m.lead()()
		time.Sleep(9 * time.Second)
		m.mu.Lock()
		must(t, m.table.Checkpoint(m.disk, Ref{1, m.index}, 10))
		m.mu.Unlock()
		synctest.Wait()
		time.Sleep(10*time.Second - tick)
		m.wantAlive(1, true)
		time.Sleep(tick)
		m.wantAlive(1, false)
	})
}

func TestLongestLeaseDoesNotOverflow(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		time.Sleep(20 * 365 * 24 * time.Hour)
		defer m.lead()()
		m.grant(1, MaxTTL)
		time.Sleep(6 * time.Minute)
		m.wantAlive(1, true)
		if _, err := m.renew(1); err != nil {
			t.Error(err)
		}
		if left, _ := m.keeper.Remaining(1); left < 270*365*24*time.Hour {
			t.Errorf("%v left", left)
		}
	})
}

func TestKeeperRunsOnce(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		defer m.lead()()
		wantErr(t, m.keeper.Run(t.Context()), errRunning)
	})
}
