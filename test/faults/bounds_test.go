// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"time"
)

// bounds answers what was known when.
type bounds struct {
	byTime     []sight // each with the greatest revision shown until then
	byRevision []sight // each with the earliest time of it or a greater one
}

func newBounds(sights []sight) bounds {
	b := bounds{byTime: slices.Clone(sights), byRevision: slices.Clone(sights)}
	slices.SortFunc(b.byTime, func(a, b sight) int { return cmp.Compare(a.at, b.at) })
	for i := 1; i < len(b.byTime); i++ {
		b.byTime[i].revision = max(b.byTime[i].revision, b.byTime[i-1].revision)
	}
	slices.SortFunc(b.byRevision, func(a, b sight) int { return cmp.Compare(a.revision, b.revision) })
	for i := len(b.byRevision) - 2; i >= 0; i-- {
		b.byRevision[i].at = min(b.byRevision[i].at, b.byRevision[i+1].at)
	}
	return b
}

// before is the greatest revision that anybody was shown before a moment.
func (b bounds) before(at time.Duration) int64 {
	n := sort.Search(len(b.byTime), func(i int) bool { return b.byTime[i].at >= at })
	if n == 0 {
		return 0
	}
	return b.byTime[n-1].revision
}

// shown is when somebody was first shown that a revision exists.
func (b bounds) shown(revision int64) time.Duration {
	n := sort.Search(len(b.byRevision), func(i int) bool { return b.byRevision[i].revision >= revision })
	if n == len(b.byRevision) {
		return math.MaxInt64
	}
	return b.byRevision[n].at
}
