// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	etcdclient "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	recipes "go.etcd.io/etcd/client/v3/experimental/recipes"
)

// session makes a lease and keeps it alive. Every third of its time the client
// asks, and so hears that it is lost.
func (s *side) session(c *etcdclient.Client, id int64) *concurrency.Session {
	s.Helper()
	s.ask(&pb.LeaseGrantRequest{ID: id, TTL: 12})
	session, err := concurrency.NewSession(c, concurrency.WithLease(etcdclient.LeaseID(id)))
	if err != nil {
		s.Fatal(err)
	}
	return session
}

// waits starts what waits for others, and returns how to write down its end.
func (s *side) waits(step string, act func() error) (finish func()) {
	ended := make(chan error, 1)
	go func() { ended <- act() }()
	return func() {
		s.Helper()
		s.told(step, nil, <-ended)
	}
}

// queued waits until so many have a claim below a name.
func (s *side) queued(c *etcdclient.Client, name string, n int64) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	for {
		r, err := c.Get(ctx, name, etcdclient.WithPrefix(), etcdclient.WithCountOnly())
		if err != nil {
			s.Fatalf("%s: %d claims below %s: %v", s.name, n, name, err)
		}
		if r.Count == n {
			return
		}
	}
}

// over waits until a session has ended.
func (s *side) over(session *concurrency.Session) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	select {
	case <-session.Done():
		s.note("a session", "over")
	case <-ctx.Done():
		s.Fatalf("%s: the session of a lease that is gone goes on", s.name)
	}
}

// A lock passes on when it is let go, when its owner's lease is lost, and when
// its key is; who has lost it is told.
func TestClientMutex(t *testing.T) { alike(t, []door{mutual}, clientMutexes) }

func clientMutexes(s *side) {
	c := s.client()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	var mutexes []*concurrency.Mutex
	var sessions []*concurrency.Session
	for id := range int64(3) {
		sessions = append(sessions, s.session(c, id+7))
		mutexes = append(mutexes, concurrency.NewMutex(sessions[id], "l"))
	}
	owns := func(i int) {
		r, err := c.Txn(ctx).If(mutexes[i].IsOwner()).Then(etcdclient.OpPut("owned", fmt.Sprint(i))).Commit()
		s.told(fmt.Sprint("whether the owner is ", i), (*pb.TxnResponse)(r), err)
	}
	s.told("lock", nil, mutexes[0].Lock(ctx))
	s.told("lock what is held already", nil, mutexes[0].Lock(ctx))
	s.note("key and header", fmt.Sprint(mutexes[0].Key(), mutexes[0].Header().Revision))
	second := s.waits("the second", func() error { return mutexes[1].Lock(ctx) })
	s.claimed("l/8")
	third := s.waits("the third", func() error { return mutexes[2].Lock(ctx) })
	s.claimed("l/9")
	owns(0)
	s.ask(&pb.LeaseRevokeRequest{ID: 7})
	s.over(sessions[0])
	second()
	owns(0)
	owns(1)
	s.told("unlock what was lost", nil, mutexes[0].Unlock(ctx))
	s.told("lock with a lost lease", nil, mutexes[0].Lock(ctx))
	s.ask(del("l/9", ""), del("l/8", ""))
	third()
	s.told("try with a key that is gone", nil, mutexes[1].TryLock(ctx))
	s.told("unlock", nil, mutexes[1].Unlock(ctx))
	s.told("unlock twice", nil, mutexes[1].Unlock(ctx))
	locker := concurrency.NewLocker(sessions[2], "other")
	locker.Lock()
	s.ask(everything())
	locker.Unlock()
	s.told("close", nil, sessions[2].Close())
	s.told("close twice", nil, sessions[2].Close())
	sessions[1].Orphan()
	s.ask(everything(), &pb.LeaseLeasesRequest{})
}

func TestClientSession(t *testing.T) {
	alike(t, []door{mutual}, func(s *side) {
		c := s.client()
		stranger, err := concurrency.NewSession(c, concurrency.WithLease(99))
		s.told("the session of a lease that is none", nil, err)
		s.over(stranger)
		own, err := concurrency.NewSession(c, concurrency.WithTTL(1000))
		if err != nil {
			s.Fatal(err)
		}
		s.ask(put("a", "1"))
		_, err = c.Put(s.Context(), "b", "1", etcdclient.WithLease(own.Lease()))
		s.told("a key of the session", nil, err)
		s.told("close", nil, own.Close())
		s.over(own)
		s.ask(everything(), &pb.LeaseLeasesRequest{})
	})
}

func TestClientElection(t *testing.T) { alike(t, []door{mutual}, clientElections) }

func clientElections(s *side) {
	c := s.client()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	one, two := s.session(c, 7), s.session(c, 8)
	first, second := concurrency.NewElection(one, "e"), concurrency.NewElection(two, "e")
	told := second.Observe(ctx)
	hear := func() {
		r := <-told
		s.told("observed", (*pb.RangeResponse)(r), nil)
	}
	s.told("campaign", nil, first.Campaign(ctx, "one"))
	hear()
	s.note("of the leader", fmt.Sprint(first.Key(), first.Rev(), first.Header().Revision))
	s.told("campaign again", nil, first.Campaign(ctx, "again"))
	hear()
	s.told("proclaim by who does not lead", nil, second.Proclaim(ctx, "x"))
	finish := s.waits("the second", func() error { return second.Campaign(ctx, "two") })
	s.claimed("e/8")
	resumed := concurrency.ResumeElection(one, "e", first.Key(), first.Rev())
	s.told("proclaim by who came back", nil, resumed.Proclaim(ctx, "back"))
	hear()
	s.ask(&pb.LeaseRevokeRequest{ID: 7})
	s.over(one)
	finish()
	hear()
	s.told("proclaim by who was lost", nil, resumed.Proclaim(ctx, "lost"))
	s.told("resign by who was lost", nil, first.Resign(ctx))
	r, err := first.Leader(ctx)
	s.told("leader", (*pb.RangeResponse)(r), err)
	s.told("resign", nil, second.Resign(ctx))
	_, err = second.Leader(ctx)
	s.told("nobody leads", nil, err)
	s.ask(everything())
}

// Others meddle with what a transaction of each isolation reads and writes:
// how often it is tried, what it sees and what comes out are alike.
func TestClientSTM(t *testing.T) {
	levels := map[string]concurrency.Isolation{
		"serializable snapshot": concurrency.SerializableSnapshot, "serializable": concurrency.Serializable,
		"repeatable reads": concurrency.RepeatableReads, "read committed": concurrency.ReadCommitted,
	}
	alike(t, []door{mutual}, func(s *side) {
		c := s.client()
		ctx, cancel := context.WithTimeout(s.Context(), patience)
		defer cancel()
		for _, level := range sortedKeys(levels) {
			for _, meddled := range []string{"none", "read", "read later", "written"} {
				s.ask(put("read", "r"), put("read later", "l"), put("written", "w"), put("doomed", "d"))
				tries := 0
				var saw string
				r, err := concurrency.NewSTM(c, func(stm concurrency.STM) error {
					saw = stm.Get("read")
					if tries++; tries == 1 {
						s.ask(put(meddled, "meddled"))
					}
					saw += stm.Get("read later") + stm.Get("read", "nothing")
					stm.Put("written", saw)
					saw += fmt.Sprint(stm.Get("written"), stm.Rev("read") > 0, stm.Rev("nothing"))
					stm.Del("doomed")
					return nil
				}, concurrency.WithIsolation(levels[level]), concurrency.WithAbortContext(ctx), concurrency.WithPrefetch("doomed"))
				// The client writes in the order of a map.
				s.told(fmt.Sprint(level, " beside a change of ", meddled, r.Succeeded, len(r.Responses), r.Header.Revision), nil, err)
				s.note("tries and sights", fmt.Sprint(tries, saw))
				s.ask(everything())
			}
		}
		_, err := concurrency.NewSTM(c, func(concurrency.STM) error { return fmt.Errorf("thought better of it") })
		s.told("given up by itself", nil, err)
		ctx, cancel = context.WithCancel(ctx)
		cancel()
		_, err = concurrency.NewSTM(c, func(stm concurrency.STM) error { stm.Get("a"); return nil }, concurrency.WithAbortContext(ctx))
		s.told("given up by its caller", nil, err)
	})
}

// What etcd's client has in its experimental recipes. Their keys have the time
// in their names.
func TestClientRecipes(t *testing.T) {
	alike(t, []door{mutual}, func(s *side) {
		c := s.client()
		one, two, three := s.session(c, 7), s.session(c, 8), s.session(c, 9)
		reader, other, writer := recipes.NewRWMutex(one, "rw"), recipes.NewRWMutex(two, "rw"), recipes.NewRWMutex(three, "rw")
		s.told("read", nil, reader.RLock())
		s.told("read beside", nil, other.RLock())
		write := s.waits("write", writer.Lock)
		s.queued(c, "rw/", 3)
		s.told("read no more", nil, reader.RUnlock())
		s.ask(&pb.LeaseRevokeRequest{ID: 8}) // which reads
		write()
		read := s.waits("read again", reader.RLock)
		s.told("write no more", nil, writer.Unlock())
		read()
		s.told("read no more", nil, reader.RUnlock())

		queue := recipes.NewQueue(c, "queue")
		for _, v := range []string{"first", "second"} {
			s.told("enqueue", nil, queue.Enqueue(v))
		}
		for range 2 {
			v, err := queue.Dequeue()
			s.told("dequeue "+v, nil, err)
		}
		waited := s.waits("dequeue what comes", func() error { _, err := queue.Dequeue(); return err })
		s.told("enqueue", nil, queue.Enqueue("third"))
		waited()
		urgent := recipes.NewPriorityQueue(c, "urgent")
		for i, v := range []string{"late", "soon", "late too"} {
			s.told("enqueue", nil, urgent.Enqueue(v, uint16(5-i%2)))
		}
		for range 3 {
			v, err := urgent.Dequeue()
			s.told("dequeue "+v, nil, err)
		}

		barrier := recipes.NewBarrier(c, "barrier")
		s.told("hold", nil, barrier.Hold())
		s.told("hold twice", nil, barrier.Hold())
		passed := s.waits("pass", recipes.NewBarrier(s.client(), "barrier").Wait)
		s.told("release", nil, barrier.Release())
		passed()
		s.told("pass what is open", nil, barrier.Wait())
		in, alongside := recipes.NewDoubleBarrier(one, "double", 2), recipes.NewDoubleBarrier(three, "double", 2)
		entered := s.waits("enter", in.Enter)
		s.told("enter as the last", nil, alongside.Enter())
		entered()
		left := s.waits("leave", in.Leave)
		s.told("leave as the last", nil, alongside.Leave())
		left()
		s.ask(get("rw", "rx"), get("queue", "r"), get("double", "e"))
	})
}
