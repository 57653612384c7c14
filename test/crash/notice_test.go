// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestTheCheckNotices shows that each kind of loss makes the check fail: it
// tells the check of deeds that the member has never heard of, or the member
// of deeds that nobody has done.
func TestTheCheckNotices(t *testing.T) {
	for name, c := range map[string]struct {
		lie  func(*lie)
		want string
	}{
		"nothing when all is well": {func(*lie) {}, ""},
		"a lost write at the end": {func(l *lie) {
			l.must(l.history.acknowledged(l.put(1), l.history.newest+1, l.history.newest))
		}, "but has answered with"},
		"another write in its place": {func(l *lie) {
			d := l.put(1)
			l.do(1)
			d.value.id++
			l.must(l.history.acknowledged(d, l.history.newest+1, l.history.newest))
		}, "have \"w0/k0\""},
		"a write that nobody did": {func(l *lie) { l.do(1) }, "nobody did this"},
		"half a transaction": {func(l *lie) {
			l.writer.unknown = &deed{verb: pair, keys: []string{"w0/k0", "w0/q0"}, value: value{id: 1 << 32}}
			l.do(1)
		}, "1 events, want 2"},
		"an unknown write": {func(l *lie) {
			l.writer.unknown = l.put(1)
			l.do(1)
		}, ""},
		"an unknown write done twice": {func(l *lie) {
			l.writer.unknown = l.put(1)
			l.do(1)
			l.do(1)
		}, "nobody did this"},
		"a lost lease": {func(l *lie) { l.writer.leases[0x77] = true }, "lease 77"},
		"a compaction of nobody's": {func(l *lie) {
			_, err := l.client.Compact(l.ctx, 5)
			l.must(err)
		}, "compacted at 5, want 0"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLie(t)
			defer l.client.Close()
			l.must(l.check())
			c.lie(l)
			err := l.check()
			if c.want == "" && err == nil {
				return
			}
			if c.want == "" || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the check says %v, want %q", err, c.want)
			}
		})
	}
}

// lie is a member, a writer who has been honest so far, and the means to be so
// no longer.
type lie struct {
	t       *testing.T
	ctx     context.Context
	client  *clientv3.Client
	history *history
	writer  *writer
	chance  *rand.Rand
}

func newLie(t *testing.T) *lie {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	chance := chance(t)
	l := &lie{
		t: t, ctx: ctx, client: newHome(t).start(t).client(t),
		history: newHistory(), writer: newWriter(0, chance, 100, false), chance: chance,
	}
	for range 100 {
		l.must(l.writer.step(ctx, l.client, l.history))
	}
	return l
}

func (l *lie) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lie) check() error {
	return (&check{history: l.history, writers: []*writer{l.writer}, client: l.client}).run(l.ctx, l.chance)
}

// put is a deed; do carries it out without anybody's noting it.
func (l *lie) put(id uint64) *deed {
	return &deed{verb: put, keys: []string{"w0/k0"}, value: value{id: id << 32}}
}

func (l *lie) do(id uint64) {
	l.t.Helper()
	_, err := l.put(id).do(l.ctx, l.client, nil)
	l.must(err)
}
