// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// The keys: few, so that clients meet.
const (
	registers  = "r/" // what everybody puts, gets, deletes and swaps
	markers    = "m/" // one for each client, which names its transactions
	guarded    = "guarded/"
	locks      = "lock/"
	leased     = "leased/"
	registersN = 8
)

// pause between two requests of a client.
const pauseBetween = 25 * time.Millisecond

// client asks one member one thing after another.
type client struct {
	id      int
	history *history
	conn    *clientv3.Client
	chance  *rand.Rand
	values  int
	seen    map[string]int64 // when a register was last seen to change
}

func newWorker(id int, h *history, conn *clientv3.Client) *client {
	return &client{id: id, history: h, conn: conn, chance: chance(100 + uint64(id)), seen: map[string]int64{}}
}

// run asks until ctx ends; its last request is still answered.
func (c *client) run(ctx context.Context) {
	tick := time.NewTicker(pauseBetween)
	defer tick.Stop()
	for ctx.Err() == nil {
		c.do(c.next())
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// do asks even when the run is over: a request that is given up is an unknown
// more.
func (c *client) do(r request) (answer, error) {
	a, err := c.history.do(context.Background(), c.conn, c.id, r)
	if err == nil && a.changed && a.succeeded {
		for _, s := range r.then {
			if s.verb == put {
				c.seen[s.key] = a.revision
			}
		}
	}
	return a, err
}

// value is one that nobody else writes.
func (c *client) value() string {
	c.values++
	return fmt.Sprintf("%d:%d", c.id, c.values)
}

func (c *client) register() string { return fmt.Sprint(registers, c.chance.IntN(registersN)) }

func (c *client) next() request {
	key := c.register()
	prev := c.chance.IntN(3) == 0
	switch n := c.chance.IntN(100); {
	case n < 25:
		return bare(step{verb: put, key: key, value: c.value(), prev: prev})
	case n < 45:
		return bare(step{verb: get, key: key})
	case n < 52:
		r := bare(step{verb: get, key: registers, prefix: true})
		r.serializable = true
		return r
	case n < 60:
		return bare(step{verb: get, key: registers, prefix: true, limit: int64(c.chance.IntN(4))})
	case n < 63:
		return bare(step{verb: get, key: "", prefix: true, limit: 20})
	case n < 70:
		return bare(step{verb: del, key: key, prev: prev})
	case n < 84:
		return c.swap(key)
	case n < 95:
		return c.several()
	default: // one that never holds
		return request{
			ifs:       []condition{{key: key, target: pb.Compare_VALUE, value: "never"}},
			then:      []step{{verb: put, key: key, value: c.value()}},
			otherwise: []step{{verb: get, key: key}},
		}
	}
}

// swap writes if nobody has since this client has, or if nobody ever has.
func (c *client) swap(key string) request {
	when := condition{key: key, target: pb.Compare_MOD, number: c.seen[key]}
	if c.chance.IntN(4) == 0 {
		when = condition{key: key, target: pb.Compare_CREATE}
	}
	return request{
		ifs:       []condition{when},
		then:      []step{{verb: put, key: key, value: c.value(), prev: true}},
		otherwise: []step{{verb: get, key: key}},
	}
}

// several changes several keys at once. Its marker tells it from any other.
func (c *client) several() request {
	r := request{then: []step{
		{verb: put, key: fmt.Sprint(markers, c.id), value: c.value()},
		{verb: get, key: registers, prefix: true},
	}}
	first := c.chance.IntN(registersN)
	for i := range 1 + c.chance.IntN(3) {
		s := step{verb: put, key: fmt.Sprint(registers, (first+i)%registersN), value: c.value()}
		if c.chance.IntN(4) == 0 {
			s.verb, s.value, s.prev = del, "", true
		}
		r.then = append(r.then, s)
	}
	r.then = append(r.then, step{verb: get, key: c.register()})
	if c.chance.IntN(3) == 0 {
		r.ifs = []condition{{key: r.then[2].key, target: pb.Compare_VERSION, number: int64(c.chance.IntN(4))}}
		r.otherwise = []step{{verb: get, key: r.then[2].key}}
	}
	return r
}
