// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// request is anything that a client may ask of the keys. All of it can be
// said as a transaction; one that is bare is a single step and sent as such.
type request struct {
	ifs             []condition
	then, otherwise []step
	bare            bool
	serializable    bool // a bare get that any member may answer as it stands
}

// condition compares one thing of a key: its value, or a number of it.
type condition struct {
	key    string
	target pb.Compare_CompareTarget // VALUE, CREATE, MOD or VERSION
	value  string
	number int64
}

type verb string

const (
	put verb = "put"
	get verb = "get"
	del verb = "del"
)

// step is one thing to do, to a key or to all that begin with it.
type step struct {
	verb   verb
	key    string
	prefix bool
	value  string
	lease  int64
	limit  int64
	prev   bool // a put or delete that wants what was there before
}

// answer is what a client was told.
type answer struct {
	cluster   uint64
	revision  int64
	succeeded bool
	changed   bool     // it says itself that it has changed something
	results   []string // one of each step, in words
	values    []string // the first value that each get has found, or absent
}

func bare(s step) request { return request{then: []step{s}, bare: true} }

// do sends the request.
func (r request) do(ctx context.Context, c *clientv3.Client) (answer, error) {
	if r.bare {
		return r.then[0].do(ctx, c, r.serializable)
	}
	var ifs []clientv3.Cmp
	for _, i := range r.ifs {
		ifs = append(ifs, i.compare())
	}
	got, err := c.Txn(ctx).If(ifs...).Then(ops(r.then)...).Else(ops(r.otherwise)...).Commit()
	if err != nil {
		return answer{}, err
	}
	a := told(got.Header)
	a.succeeded = got.Succeeded
	for _, one := range got.Responses {
		switch {
		case one.GetResponsePut() != nil:
			a.add(putWords(one.GetResponsePut().PrevKv), true)
		case one.GetResponseRange() != nil:
			a.got(one.GetResponseRange())
		case one.GetResponseDeleteRange() != nil:
			d := one.GetResponseDeleteRange()
			a.add(delWords(d.Deleted, d.PrevKvs), d.Deleted > 0)
		}
	}
	return a, nil
}

func (s step) do(ctx context.Context, c *clientv3.Client, serializable bool) (answer, error) {
	op := s.op()
	if serializable {
		op = clientv3.OpGet(s.key, append(s.options(), clientv3.WithSerializable())...)
	}
	got, err := c.Do(ctx, op)
	if err != nil {
		return answer{}, err
	}
	switch s.verb {
	case put:
		a := told(got.Put().Header)
		a.add(putWords(got.Put().PrevKv), true)
		return a, nil
	case get:
		a := told(got.Get().Header)
		a.got((*pb.RangeResponse)(got.Get()))
		return a, nil
	default:
		a := told(got.Del().Header)
		a.add(delWords(got.Del().Deleted, got.Del().PrevKvs), got.Del().Deleted > 0)
		return a, nil
	}
}

func told(h *pb.ResponseHeader) answer {
	return answer{cluster: h.ClusterId, revision: h.Revision, succeeded: true}
}

func (a *answer) add(words string, changed bool) {
	a.results = append(a.results, words)
	a.changed = a.changed || changed
}

// absent stands for the value of a key that is not there.
const absent = "absent"

func (a *answer) got(r *pb.RangeResponse) {
	a.add(getWords(r), false)
	value := absent
	if len(r.Kvs) > 0 {
		value = brief(string(r.Kvs[0].Value))
	}
	a.values = append(a.values, value)
}

func ops(steps []step) (all []clientv3.Op) {
	for _, s := range steps {
		all = append(all, s.op())
	}
	return all
}

func (s step) op() clientv3.Op {
	switch s.verb {
	case put:
		return clientv3.OpPut(s.key, s.value, s.options()...)
	case get:
		return clientv3.OpGet(s.key, s.options()...)
	default:
		return clientv3.OpDelete(s.key, s.options()...)
	}
}

func (s step) options() (all []clientv3.OpOption) {
	if s.prefix {
		all = append(all, clientv3.WithPrefix())
	}
	if s.lease != 0 {
		all = append(all, clientv3.WithLease(clientv3.LeaseID(s.lease)))
	}
	if s.limit != 0 {
		all = append(all, clientv3.WithLimit(s.limit))
	}
	if s.prev {
		all = append(all, clientv3.WithPrevKV())
	}
	return all
}

func (i condition) compare() clientv3.Cmp {
	switch i.target {
	case pb.Compare_CREATE:
		return clientv3.Compare(clientv3.CreateRevision(i.key), "=", i.number)
	case pb.Compare_MOD:
		return clientv3.Compare(clientv3.ModRevision(i.key), "=", i.number)
	case pb.Compare_VERSION:
		return clientv3.Compare(clientv3.Version(i.key), "=", i.number)
	default:
		return clientv3.Compare(clientv3.Value(i.key), "=", i.value)
	}
}
