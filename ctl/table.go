// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"bufio"
	"strings"
	"unicode/utf8"
)

// table is the table form: the first row is the heading. Drawn as etcdctl
// draws it, headings in capitals and centred, cells to the right.
type table [][]string

func (t table) write(out *bufio.Writer) {
	widths := make([]int, len(t[0]))
	for _, row := range t {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	rule(out, widths, "┌", "┬", "┐")
	for i, row := range t {
		for column, cell := range row {
			if i == 0 {
				cell = strings.ToUpper(strings.ReplaceAll(cell, "_", " "))
			}
			_, _ = out.WriteString("│ " + pad(cell, widths[column], i == 0) + " ")
		}
		_, _ = out.WriteString("│\n")
		if i == 0 && len(t) > 1 {
			rule(out, widths, "├", "┼", "┤")
		}
	}
	rule(out, widths, "└", "┴", "┘")
}

func rule(out *bufio.Writer, widths []int, left, middle, right string) {
	cells := make([]string, len(widths))
	for i, width := range widths {
		cells[i] = strings.Repeat("─", width+2)
	}
	_, _ = out.WriteString(left + strings.Join(cells, middle) + right + "\n")
}

func pad(cell string, width int, centred bool) string {
	space := width - utf8.RuneCountInString(cell)
	left := space
	if centred {
		left = space / 2
	}
	return strings.Repeat(" ", left) + cell + strings.Repeat(" ", space-left)
}
