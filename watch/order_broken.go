// SPDX-License-Identifier: Apache-2.0

//go:build broken_watches

package watch

import "slices"

func inOrder(events []*Event) []*Event {
	slices.Reverse(events)
	return events
}
