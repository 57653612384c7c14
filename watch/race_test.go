// SPDX-License-Identifier: Apache-2.0

//go:build race

package watch

// racing makes tests smaller: the detector makes them ten times as slow.
const racing = true
