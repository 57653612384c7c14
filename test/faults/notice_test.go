// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// TestTheCheckNotices tells the check of a small world in which all is well
// but for one thing.
func TestTheCheckNotices(t *testing.T) {
	for name, c := range map[string]struct {
		lie  func(*world)
		rule string
		text string
	}{
		"nothing when all is well":           {lie: func(*world) {}},
		"a lost write at the end":            {func(w *world) { w.deed(w.put("r/9")).answer.revision = w.last + 1 }, ruleLost, "the history ends"},
		"another write in its place":         {func(w *world) { w.does(w.put("r/9")).request = w.put("r/9") }, ruleLost, "not what was acknowledged"},
		"a write that nobody did":            {func(w *world) { w.does(w.put("r/9")); w.forget() }, ruleLost, "nobody did this"},
		"a write that was refused":           {func(w *world) { w.does(w.put("r/9")).outcome = refused }, ruleLost, "was refused"},
		"an unknown write":                   {lie: func(w *world) { w.does(w.put("r/9")).outcome = unknown }},
		"an unknown write that was not done": {lie: func(w *world) { w.deed(w.put("r/9")).outcome = unknown }},
		"an unknown deletion":                {lie: func(w *world) { w.does(w.del("r/0")).outcome = unknown }},
		"a deletion that nobody asked for":   {func(w *world) { w.does(w.del("r/0")); w.forget() }, ruleLost, "nobody did this"},
		"an unknown write done twice":        {func(w *world) { w.twice().outcome = unknown }, ruleLost, "was done already"},
		"an acknowledged write done twice":   {func(w *world) { w.twice() }, ruleLost, "was acknowledged, there or at all"},
		"a write in the past":                {func(w *world) { w.does(w.put("r/9")).call += time.Hour }, ruleStale, "had been shown"},
		"half a transaction": {func(w *world) {
			d := w.does(w.put("r/9"))
			d.request.then = append(d.request.then, w.put("r/8").then...)
		}, ruleLost, "not what was acknowledged"},
		"a stale read":                        {func(w *world) { w.does(w.get("r/0")).answer = w.before.answer }, ruleStale, "had been shown"},
		"a serializable read of the past":     {lie: func(w *world) { d := w.does(w.get("r/0")); d.answer, d.request.serializable = w.before.answer, true }},
		"a read of what was not there":        {func(w *world) { w.does(w.get("r/0")).answer.results = []string{"1 more false: r/0=?"} }, ruleContent, "not true"},
		"a comparison that cannot have held":  {func(w *world) { w.does(w.compare()).answer.succeeded = true }, ruleContent, "not true"},
		"a watcher that misses an event":      {func(w *world) { w.watch.events = slices.Delete(w.watch.events, 1, 2) }, ruleWatch, "event 1 of"},
		"a watcher that gets one twice":       {func(w *world) { w.watch.events = slices.Insert(w.watch.events, 1, w.watch.events[0]) }, ruleWatch, "event 1 of"},
		"a watcher that gets two in disorder": {func(w *world) { slices.Reverse(w.watch.events[:2]) }, ruleWatch, "event 0 of"},
		"a watcher that has not got all yet":  {lie: func(w *world) { w.watch.events = w.watch.events[:1] }},
		"a torn revision":                     {func(w *world) { w.watch.borders = []int{w.pair} }, ruleWatch, "torn"},
		"progress beyond what was told":       {func(w *world) { w.watch.progress = []notice{{w.last, 1}} }, ruleWatch, "missed nothing"},
		"a lease that ends early":             {func(w *world) { w.expire(w.history.now() + time.Hour) }, ruleLease, "early"},
		"a lease that ends in time":           {lie: func(w *world) { w.expire(0) }},
		"a lease that does not end":           {func(w *world) { w.does(w.lease()) }, ruleLease, "still there"},
		"half the end of a lease":             {func(w *world) { w.does(w.lease()); w.does(w.lease()); w.does(w.del(leased + "2")); w.forget() }, ruleLost, "nobody did this"},
		"a lock that another has":             {func(w *world) { w.lock("lock/a/1"); w.lock("lock/a/2") }, ruleLock, "the first is"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			c.lie(w)
			check := newCheck(w.history, w.log, w.last)
			check.run()
			if result := check.porcupine(); c.rule == "" && result != "Ok" {
				t.Errorf("porcupine says %s", result)
			}
			at := slices.IndexFunc(check.violations, func(v violation) bool { return v.rule == c.rule && strings.Contains(v.text, c.text) })
			if c.rule == "" && len(check.violations) > 0 || c.rule != "" && at < 0 {
				t.Errorf("want %q, %q; have %v", c.rule, c.text, check.violations)
			}
		})
	}
}

// world is a history in which all is well, and the means to go on with it.
type world struct {
	history *history
	log     changes
	model   model
	last    int64
	values  int

	watch  *watching
	pair   int   // of the watcher's events, the second of a revision
	before *deed // an old read
}

func newWorld() *world {
	w := &world{history: newHistory(1), log: changes{}, model: model{}, last: 1, watch: &watching{from: 1}}
	w.history.began = time.Now().Add(-time.Minute)
	w.history.watches = []*watching{w.watch}
	w.does(w.put("r/0"))
	w.before = w.does(w.get("r/0"))
	for range 3 {
		w.does(w.put("r/0"))
		w.does(w.get("r/0"))
	}
	both := w.put("r/1")
	both.then, both.bare = append(both.then, w.put("r/2").then...), false
	w.does(both)
	w.pair = len(w.watch.events) - 1
	w.does(w.put("r/0"))
	return w
}

func (w *world) put(key string) request {
	w.values++
	return bare(step{verb: put, key: key, value: strings.Repeat("v", w.values)})
}

func (w *world) get(key string) request { return bare(step{verb: get, key: key}) }
func (w *world) del(key string) request { return bare(step{verb: del, key: key}) }

func (w *world) compare() request {
	return request{ifs: []condition{{key: "r/0", target: pb.Compare_VERSION, number: 77}}}
}

// lease puts a key of lease 7, another each time.
func (w *world) lease() request {
	r := w.put(fmt.Sprint(leased, 1+len(w.model.of(7))))
	r.then[0].lease = 7
	return r
}

// deed is one that nothing comes of.
func (w *world) deed(r request) *deed {
	d := &deed{request: r, call: w.history.now(), outcome: acknowledged, answer: answer{succeeded: true, changed: true}}
	d.back = d.call
	w.history.deeds = append(w.history.deeds, d)
	return d
}

// does carries out a request as a member would.
func (w *world) does(r request) *deed {
	d := w.deed(r)
	a, events, undo := w.model.carryOut(r, w.last+1)
	if !a.changed {
		undo()
		a, events, _ = w.model.carryOut(r, w.last)
	}
	d.answer = a
	w.happens(events)
	d.back = w.history.now()
	w.history.sights = append(w.history.sights, sight{d.back, a.revision})
	return d
}

func (w *world) happens(events []event) {
	for _, e := range events {
		w.last = e.revision
		kv := w.model[e.key]
		if kv == nil {
			kv = &mvccpb.KeyValue{Key: []byte(e.key), ModRevision: e.revision}
		}
		w.log[e.revision] = append(w.log[e.revision], change{kv: kv, deleted: w.model[e.key] == nil})
		w.watch.events = append(w.watch.events, e)
	}
}

// forget takes the last deed from the clients' memory.
func (w *world) forget() { w.history.deeds = w.history.deeds[:len(w.history.deeds)-1] }

// twice carries out a deed two times, and tells of the second.
func (w *world) twice() *deed {
	r := w.put("r/9")
	w.does(r)
	w.forget()
	return w.does(r)
}

// expire lets a lease end that was to last until a moment.
func (w *world) expire(until time.Duration) {
	w.does(w.lease())
	w.does(w.lease())
	w.history.leases[7] = &tenure{id: 7, until: until}
	_, events, _ := w.model.carryOut(bare(step{verb: del, key: leased, prefix: true}), w.last+1)
	w.happens(events)
	w.history.saw(w.last)
}

// lock puts the key of somebody who waits for a lock, and claims to have it.
func (w *world) lock(key string) {
	w.does(w.put(key))
	w.history.held(hold{key: key, prefix: "lock/a/", revision: w.last})
}
