// SPDX-License-Identifier: Apache-2.0

//go:build !broken_seal

package daemon

import "testing"

func TestNoKeyMaterialLiesWhereItMustNot(t *testing.T) {
	for place, what := range exposed(t) {
		t.Errorf("%q are in %s", what, place)
	}
}
