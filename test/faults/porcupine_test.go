// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"maps"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// porcupinePatience bounds a search that may take for ever. What it has not
// decided by then, the revisions have decided already.
const porcupinePatience = 30 * time.Second

// visit is what a request does to one key, and what it was told of it. A
// request of unknown outcome was told nothing.
type visit struct {
	key   string
	steps []step
	told  []string // one for each get; nil if nothing is known
}

// register is a key that holds a value, or absent.
var register = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, o := range all {
			key := o.Input.(visit).key
			byKey[key] = append(byKey[key], o)
		}
		return slices.Collect(maps.Values(byKey))
	},
	Init: func() any { return absent },
	Step: func(state, input, _ any) (bool, any) {
		v, gets := input.(visit), 0
		for _, s := range v.steps {
			switch s.verb {
			case put:
				state = brief(s.value)
			case del:
				state = absent
			default:
				if v.told != nil && v.told[gets] != state {
					return false, state
				}
				gets++
			}
		}
		return true, state
	},
}

// porcupine asks porcupine about each key. What was carried out although its
// client does not know may have been so at any time.
func (c *check) porcupine() porcupine.CheckResult {
	end := int64(1) << 62
	var all []porcupine.Operation
	for d, steps := range c.taken {
		back := end
		if d.outcome == acknowledged {
			back = int64(d.back)
		}
		if d.request.serializable {
			continue
		}
		for _, v := range visits(d, steps) {
			all = append(all, porcupine.Operation{ClientId: d.client, Input: v, Call: int64(d.call), Return: back})
		}
	}
	result := porcupine.CheckOperationsTimeout(register, all, porcupinePatience)
	if result == porcupine.Illegal {
		c.fail(rulePorcupine, "porcupine has found a key that is not")
	}
	return result
}

func visits(d *deed, steps []step) []visit {
	byKey := map[string]visit{}
	gets := 0
	for _, s := range steps {
		v := byKey[s.key]
		v.key = s.key
		if s.verb == get {
			at := gets
			gets++
			if s.prefix {
				continue
			}
			if d.outcome == acknowledged {
				v.told = append(v.told, d.answer.values[at])
			}
		}
		v.steps = append(v.steps, s)
		byKey[s.key] = v
	}
	return slices.Collect(maps.Values(byKey))
}
