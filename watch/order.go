// SPDX-License-Identifier: Apache-2.0

//go:build !broken_watches

package watch

// inOrder returns events in the order in which they happened. A program of the
// fault tests breaks the rule, to show that they see it.
func inOrder(events []*Event) []*Event { return events }
