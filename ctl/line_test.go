// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func TestALineOfATransactionIsSplitAsAShellWould(t *testing.T) {
	for _, c := range []struct {
		line string
		want []string
	}{
		{`put key value`, []string{"put", "key", "value"}},
		{`put  key	"a value" `, []string{"put", "key", "a value"}},
		{`put 'a "key"' "a\tvalue\x00\"é"`, []string{"put", `a "key"`, "a\tvalue\x00\"é"}},
		{`get "" --prefix`, []string{"get", "", "--prefix"}},
		{`put a=b c"d"`, []string{"put", "a=b", `c"d"`}},
		{``, nil},
	} {
		got, err := words(c.line)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, %v; want %q", c.line, got, err, c.want)
		}
	}
	for _, line := range []string{`put "a`, `put 'a`, `put "\q"`} {
		if got, err := words(line); err == nil {
			t.Errorf("%s: got %q, want an error", line, got)
		}
	}
}

func TestConditionsOfATransaction(t *testing.T) {
	for _, c := range []struct {
		line     string
		target   pb.Compare_CompareTarget
		relation pb.Compare_CompareResult
		number   int64
	}{
		{`mod("k") > "0"`, pb.Compare_MOD, pb.Compare_GREATER, 0},
		{`m("k") = "7"`, pb.Compare_MOD, pb.Compare_EQUAL, 7},
		{`create("k")<"9"`, pb.Compare_CREATE, pb.Compare_LESS, 9},
		{`c("k") != "1"`, pb.Compare_CREATE, pb.Compare_NOT_EQUAL, 1},
		{`version("k") = "2"`, pb.Compare_VERSION, pb.Compare_EQUAL, 2},
		{`ver("k") = "2"`, pb.Compare_VERSION, pb.Compare_EQUAL, 2},
		{`lease("k") = "1f"`, pb.Compare_LEASE, pb.Compare_EQUAL, 31},
	} {
		got, err := readCondition(c.line)
		compare := got.GetCompare()
		number := compare.GetModRevision() + compare.GetCreateRevision() + compare.GetVersion() + compare.GetLease()
		if err != nil || string(compare.GetKey()) != "k" || compare.GetTarget() != c.target || compare.GetResult() != c.relation || number != c.number {
			t.Errorf("%s: got %v, %v", c.line, compare, err)
		}
	}
	got, err := readCondition(`value("a \"key\"") != "x y"`)
	compare := got.GetCompare()
	if err != nil || string(compare.GetKey()) != `a "key"` || string(compare.GetValue()) != "x y" {
		t.Errorf("got %v, %v", compare, err)
	}
	for _, line := range []string{`mod`, `mod("k") 0`, `mod("k" > "0"`, `mod("k") ~ "0"`, `mod("k") == "0"`, `mod("k") > 0`, `mod("k") > "x"`, `size("k") > "0"`, `mod(k) > "0"`, `mod("k") > "0" x`, `lease("k") = "zz"`, `(`, ``} {
		if got, err := readCondition(line); err == nil {
			t.Errorf("%s: got %v, want an error", line, got)
		}
	}
}

func FuzzConditionNeverPanics(f *testing.F) {
	f.Add(`mod("k") > "0"`)
	f.Add(`value("k") != "\xff"`)
	f.Fuzz(func(_ *testing.T, line string) {
		_, _ = readCondition(line)
		_, _ = words(line)
	})
}
