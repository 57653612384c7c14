// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sample is a small report with every table in it.
func sample() *report {
	r := &report{
		Date: "2026-01-02", Rounds: 3, Seconds: 4,
		Machine:  machine{CPU: "Two & Co", Cores: 2, Memory: 25e9, Kernel: "6.1"},
		Versions: map[string]string{"cleat": "1.0", "etcd": "3.7.3", "client/v3": "v3.7.3", "go": "go1.26"},
		Storage: []held{
			{cleatTLS, 1e6, 98765, 12.3, 300e6, 600e6, 0.01, 0.5, 0.75, 1.25, 100e6, 64e6, 3},
			{etcdTLS, 1e6, 43210, 45.6, 900e6, 800e6, 0.01, 0.25, 2.5, 3.75, 950e6, 800e6, 1},
		},
		Leases:  []aged{{cleatTLS, 1000, 30, 10, 20.5, 12345, 54321, 0.3, 70e6, 0.02}},
		Stalled: []slowed{{cleatTLS, 1e6, 10_000, 100000, 98000, 0.98, 20, 21.5, 200e6, 210e6, 2.5, 0.35}},
		Crowds:  []crowded{{cleatTLS, 50, 100e6, 1, 5, 2, 20, 4, 500e6, 1, 123, 4, 0, 0.02}},
	}
	put, keys := measure{name: "put, <1> client", unit: "puts"}, measure{name: "range", unit: "ranges"}
	// The order in which a scene of two measures gives them.
	r.add(put, cleatTLS, figures{3000, 0.5, 2.25, 40, 61e6, 0.02})
	r.add(keys, cleatTLS, figures{80, 10, 20, 2000, 61e6, 0.02})
	r.add(put, etcdTLS, figures{1000, 1.5, 4, 160, 80e6, 0.02})
	r.add(keys, etcdTLS, figures{20, 40, 90.5, 10000, 80e6, 0.02})
	r.add(put, etcdPlain, figures{2000, 1, 3, 80, 70e6, 0.02})
	r.add(put, floorTLS, figures{12345, 0.1, 0.2, 10, 30e6, 0.02})
	r.sort([]scene{{measures: []measure{put, keys}}})
	r.compare()
	return r
}

func TestAReportReadsAsItsGoldenFiles(t *testing.T) {
	r := sample()
	for name, got := range map[string]string{"report.txt": r.text(), "report.md": r.markdown(), "report.svg": r.plot()} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs; -update writes it anew:\n%s", path, got)
		}
	}
}

func TestRatios(t *testing.T) {
	r := sample()
	want := []compared{{"put, <1> client", 3, 0.25, 1.5, 0.5, 0.5 / 1.5}, {"range", 4, 0.2, 0, 0, 0.25}}
	if len(r.Ratios) != 2 || r.Ratios[0] != want[0] || r.Ratios[1] != want[1] {
		t.Errorf("got %+v, want %+v", r.Ratios, want)
	}
}

func TestAReportOfClustersSaysSo(t *testing.T) {
	r := &report{Members: 3, Machine: machine{CPU: "x"}}
	m := measure{name: "put", unit: "puts"}
	r.add(m, cleatTLS, figures{Throughput: 2, P50: 1, CPU: 1})
	r.add(m, etcdTLS, figures{Throughput: 1, P50: 4, CPU: 2})
	r.compare()
	text := r.markdown() + r.plot()
	for _, want := range []string{"make bench BENCH='-members 3'", "clusters of 3", "those of the 3 members together", "3 members each", "| put | 2.00 × | 0.25 × | 0.50 × |"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "plain") || strings.Contains(text, "floor") {
		t.Errorf("who was not there is spoken of:\n%s", text)
	}
}

func TestRowsOfAMeasureStandTogether(t *testing.T) {
	var order []string
	for _, w := range sample().Rows {
		order = append(order, w.Measure[:1]+w.Contender)
	}
	if got := strings.Join(order, " "); got != "pcleat-mtls petcd-mtls petcd-plain pfloor rcleat-mtls retcd-mtls" {
		t.Error(got)
	}
}

func TestThePlotIsXML(t *testing.T) {
	for name, r := range map[string]*report{"full": sample(), "empty": {}} {
		d := xml.NewDecoder(strings.NewReader(r.plot()))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func TestBarsStayInsideThePlot(t *testing.T) {
	r := &report{Ratios: []compared{{Measure: "wild", Throughput: 37.2, CPU: 0.01}, {Measure: "slow", Throughput: 0.2, CPU: 4}}}
	d := xml.NewDecoder(strings.NewReader(r.plot()))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "rect" {
			var rect struct {
				X     float64 `xml:"x,attr"`
				Width float64 `xml:"width,attr"`
			}
			if err := d.DecodeElement(&rect, &start); err != nil {
				t.Fatal(err)
			}
			if rect.X+rect.Width > plotRight || rect.Width < 0 {
				t.Errorf("a bar ends at %v", rect.X+rect.Width)
			}
		}
	}
}

func TestCount(t *testing.T) {
	for v, want := range map[float64]string{0: "0.0", 12.34: "12.3", 999.6: "1,000", 1234567: "1,234,567", 100: "100", -5000: "-5,000"} {
		if got := count(v); got != want {
			t.Errorf("count(%v) = %q, want %q", v, got, want)
		}
	}
}
