// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// The words for results are the same whether a member tells them or the model.

func putWords(prev *mvccpb.KeyValue) string { return "put over " + words(prev) }

func getWords(r *pb.RangeResponse) string {
	return fmt.Sprintf("%d more %v: %s", r.Count, r.More, allWords(r.Kvs))
}

func delWords(deleted int64, prev []*mvccpb.KeyValue) string {
	return fmt.Sprintf("deleted %d: %s", deleted, allWords(prev))
}

func allWords(kvs []*mvccpb.KeyValue) string {
	var all []string
	for _, kv := range kvs {
		all = append(all, words(kv))
	}
	return strings.Join(all, ", ")
}

func words(kv *mvccpb.KeyValue) string {
	if kv == nil {
		return "nothing"
	}
	return fmt.Sprintf("%s=%s (created %d, changed %d, version %d, lease %x)",
		kv.Key, brief(kv.Value), kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease)
}

// brief keeps what tells values apart; what fills disks is dull.
func brief[T string | []byte](value T) string {
	if len(value) <= 64 {
		return string(value)
	}
	return fmt.Sprintf("%s… %d", string(value[:32]), len(value))
}

func (r request) String() string {
	var all []string
	for _, i := range r.ifs {
		all = append(all, fmt.Sprintf("if %v of %s = %d %s", i.target, i.key, i.number, i.value))
	}
	for _, s := range r.then {
		all = append(all, s.String())
	}
	for _, s := range r.otherwise {
		all = append(all, "else "+s.String())
	}
	if r.serializable {
		all = append(all, "serializable")
	}
	return strings.Join(all, "; ")
}

func (s step) String() string {
	text := fmt.Sprintf("%s %s", s.verb, s.key)
	if s.prefix {
		text += "*"
	}
	if s.verb == put {
		text += fmt.Sprintf("=%s lease %x", brief(s.value), s.lease)
	}
	return text
}
