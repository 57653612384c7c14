// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

// The plot's measures, in pixels.
const (
	plotWidth  = 860
	plotLeft   = 270 // where the bars begin
	plotRight  = 790 // where the longest ends
	plotTop    = 84
	plotRow    = 40
	plotBottom = 34
)

// style gives each colour for a light and a dark page; the background is the
// page's own.
const style = `<style>
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 16px; font-weight: 600 } .dim { fill: #57606a; font-size: 12px }
  .throughput { fill: #0a7f6f } .cpu { fill: #d2792b }
  line { stroke: #8c959f; stroke-width: 1 } .one { stroke: #24292f; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .dim { fill: #9198a1 }
    .throughput { fill: #2fb5a0 } .cpu { fill: #e8995a }
    line { stroke: #484f58 } .one { stroke: #e6edf3 }
  }
</style>
`

// plot draws the ratios to etcd over mutual TLS as pairs of bars: throughput,
// which should pass the line at 1, and CPU, which should not reach it.
func (r *report) plot() string {
	most := 1.0
	for _, c := range r.Ratios {
		most = max(most, c.Throughput, c.CPU)
	}
	most = math.Ceil(most*2) / 2
	at := func(ratio float64) float64 { return plotLeft + ratio/most*(plotRight-plotLeft) }
	bottom := plotTop + plotRow*len(r.Ratios)

	var b strings.Builder
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"cleat's throughput and CPU time relative to etcd's\">\n%s",
		plotWidth, bottom+plotBottom, plotWidth, bottom+plotBottom, style)
	b.WriteString(label(16, 26, "title", r.title()))
	b.WriteString(bar(16, 42, 12, "throughput") + label(34, 53, "", "throughput: longer is better"))
	b.WriteString(bar(236, 42, 12, "cpu") + label(254, 53, "", "server CPU an operation: shorter is better"))
	b.WriteString(axis(most, at, bottom))
	for i, c := range r.Ratios {
		y := float64(plotTop + plotRow*i)
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">%s</text>\n", plotLeft-12, y+23, escape(c.Measure))
		b.WriteString(bar(plotLeft, y+5, at(c.Throughput)-plotLeft, "throughput"))
		b.WriteString(label(at(c.Throughput)+6, y+15, "dim", fixed(c.Throughput, 2)))
		b.WriteString(bar(plotLeft, y+19, at(c.CPU)-plotLeft, "cpu"))
		b.WriteString(label(at(c.CPU)+6, y+29, "dim", fixed(c.CPU, 2)))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (r *report) title() string {
	if r.Members > 1 {
		return fmt.Sprintf("cleat beside etcd, %d members each, all over mutual TLS (etcd = 1)", r.Members)
	}
	return "cleat beside etcd, both over mutual TLS (etcd = 1)"
}

// axis draws a line at each whole ratio, the one at 1 stronger.
func axis(most float64, at func(float64) float64, bottom int) string {
	var b strings.Builder
	step := max(1, math.Ceil(most/10))
	for v := 0.0; v <= most; v += step {
		class := "tick"
		if v == 1 {
			class = "one"
		}
		fmt.Fprintf(&b, "<line class=\"%s\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n", class, at(v), plotTop, at(v), bottom)
		fmt.Fprintf(&b, "<text class=\"dim\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>\n", at(v), bottom+18, v)
	}
	return b.String()
}

func bar(x, y, width float64, class string) string {
	return fmt.Sprintf("<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"12\" rx=\"1.5\"/>\n", class, x, y, width)
}

func label(x, y float64, class, text string) string {
	return fmt.Sprintf("<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", class, x, y, escape(text))
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // A strings.Builder takes everything.
	return b.String()
}
