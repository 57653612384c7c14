// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"slices"
	"time"
)

// A phase is what was seen during one measure's window.
type phase struct {
	metered
	taken []time.Duration // one an operation that ended in the window
}

// figures are a phase in numbers that can be compared.
type figures struct {
	Throughput float64 `json:"throughput_per_s"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	CPU        float64 `json:"server_cpu_us_per_op"`
	Memory     float64 `json:"rss_bytes"`
	Others     float64 `json:"cpu_share_of_others"` // of the whole machine, 0 to 1
}

func (p phase) figures() figures {
	slices.Sort(p.taken)
	n := float64(max(len(p.taken), 1))
	return figures{
		Throughput: float64(len(p.taken)) / p.elapsed.Seconds(),
		P50:        milliseconds(percentile(p.taken, 50)),
		P99:        milliseconds(percentile(p.taken, 99)),
		CPU:        float64(p.cpu.Microseconds()) / n,
		Memory:     float64(p.memory),
		Others:     p.others,
	}
}

// percentile returns the smallest value that at least p percent do not exceed.
// It is 0 of none.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// median of an even number is the middle of the middle two; of none, 0.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.SortedFunc(slices.Values(values), cmp.Compare[float64])
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// noisy is the share of the machine above which others blur a round.
const noisy = 0.08

// A stretch is something measured that others may have blurred.
type stretch interface{ shared() float64 } // the others' share of the machine

func (f figures) shared() float64 { return f.Others }

// quiet leaves out the noisy rounds, unless there is no other.
func quiet[T stretch](rounds []T) []T {
	kept := slices.DeleteFunc(slices.Clone(rounds), func(r T) bool { return r.shared() >= noisy })
	if len(kept) == 0 {
		return rounds
	}
	return kept
}

// tries of a noisy stretch; the quieter one counts. What keeps a machine busy
// rarely ends within seconds, so more would win little.
const tries = 2

// quieter measures again what others have blurred.
func quieter[T stretch](quick bool, measure func() (T, error)) (best T, err error) {
	for try := range tries {
		seen, err := measure()
		if err != nil {
			return best, err
		}
		if try == 0 || seen.shared() < best.shared() {
			best = seen
		}
		if quick || best.shared() < noisy {
			break
		}
	}
	return best, nil
}

// medianOf is the median of one field.
func medianOf[T any](rounds []T, field func(T) float64) float64 {
	var values []float64
	for _, r := range rounds {
		values = append(values, field(r))
	}
	return median(values)
}

// medians takes each figure's median on its own.
func medians(rounds []figures) figures {
	of := func(field func(figures) float64) float64 { return medianOf(rounds, field) }
	return figures{
		Throughput: of(func(f figures) float64 { return f.Throughput }),
		P50:        of(func(f figures) float64 { return f.P50 }),
		P99:        of(func(f figures) float64 { return f.P99 }),
		CPU:        of(func(f figures) float64 { return f.CPU }),
		Memory:     of(func(f figures) float64 { return f.Memory }),
		Others:     of(func(f figures) float64 { return f.Others }),
	}
}

// ratio is 0, which no table shows, when there is nothing to divide by.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
