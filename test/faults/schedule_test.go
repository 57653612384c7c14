// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// draw is what chance has decided about a fault, before anything is known of
// how the members will do.
type draw struct {
	nemesis *nemesis
	member  int // by place; the leader of the moment if leading
	leading bool
	second  int // another place
	percent int
	shift   time.Duration
	hold    time.Duration // for how long at least
	storm   uint64        // the seed of its own choices
}

// schedule deals faults: each kind once before any comes again, sometimes with
// another on top: a mild one, or any if a majority of five stays all the same. The seed decides all of it.
type schedule struct {
	chance  *rand.Rand
	members int
	deck    []*nemesis
}

func newSchedule(members int) *schedule { return &schedule{chance: chance(1), members: members} }

// next is the faults that come together.
func (s *schedule) next() []draw {
	if len(s.deck) == 0 {
		s.deck = wanted()
		s.chance.Shuffle(len(s.deck), func(i, j int) { s.deck[i], s.deck[j] = s.deck[j], s.deck[i] })
	}
	first := s.deck[0]
	s.deck = s.deck[1:]
	together := []draw{s.draw(first)}
	if s.chance.IntN(3) != 0 || first.alone || first.mild || *only != "" {
		return together
	}
	var onTop []*nemesis
	for _, n := range nemeses() {
		if n.mild || s.members > 4 && !n.stops && !n.alone && n.name != first.name {
			onTop = append(onTop, n)
		}
	}
	top := s.draw(onTop[s.chance.IntN(len(onTop))])
	// A member whose clock is further off refuses certificates: it counts as
	// one that is away.
	top.shift /= 15
	top.leading = false // there may be no leader then
	return append(together, top)
}

// wanted is the nemeses that may strike.
func wanted() []*nemesis {
	return slices.DeleteFunc(nemeses(), func(n *nemesis) bool {
		return *only != "" && !slices.Contains(strings.Split(*only, ","), n.name)
	})
}

func (s *schedule) draw(n *nemesis) draw {
	member := s.chance.IntN(s.members)
	return draw{
		nemesis: n,
		member:  member,
		leading: s.chance.IntN(2) == 0,
		second:  (member + 1 + s.chance.IntN(s.members-1)) % s.members,
		percent: 10 + s.chance.IntN(21),
		shift:   time.Duration(1+s.chance.IntN(3600)) * time.Second,
		hold:    time.Second + time.Duration(s.chance.Int64N(int64(4*time.Second))),
		storm:   s.chance.Uint64(),
	}
}

func (d draw) String() string {
	text := fmt.Sprint(d.nemesis.name, " at member ", d.member+1)
	if d.leading {
		text = d.nemesis.name + " at the leader"
	}
	if d.nemesis.measure != nil {
		text += ", " + d.nemesis.measure(d)
	}
	return fmt.Sprintf("%s, for %v", text, d.hold.Round(time.Millisecond))
}

// What else is told of a fault.
func percent(d draw) string { return fmt.Sprint(d.percent, " %") }
func shift(d draw) string   { return d.shift.Round(time.Second).String() }
func second(d draw) string  { return fmt.Sprint("with ", d.second+1) }

func TestTheSeedDecidesTheSchedule(t *testing.T) {
	one, other := newSchedule(3), newSchedule(3)
	for n := range 100 {
		if a, b := fmt.Sprint(one.next()), fmt.Sprint(other.next()); a != b {
			t.Fatalf("round %d is %s and %s", n, a, b)
		}
	}
}
