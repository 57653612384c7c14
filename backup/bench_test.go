// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cleatd/cleat/state"
)

// BenchmarkSave writes a snapshot of a million keys of 32 bytes with values of
// 256, put in random order.
func BenchmarkSave(b *testing.B) {
	s := newSubject(b)
	random := rand.New(rand.NewPCG(1, 2))
	var commands [][]byte
	for i, n := range random.Perm(1_000_000) {
		value := make([]byte, 256)
		for j := 0; j < len(value); j += 8 {
			binary.BigEndian.PutUint64(value[j:], random.Uint64())
		}
		commands = append(commands, state.PutCommand(root, &pb.PutRequest{Key: fmt.Appendf(nil, "a-key-of-32-bytes-%014d", n), Value: value}))
		if i%1000 == 999 {
			s.apply(commands...)
			commands = commands[:0]
		}
	}
	if err := s.store.Flush(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		view, err := s.machine.View()
		if err != nil {
			b.Fatal(err)
		}
		saved, err := Save(Source{View: view, Term: 3, Dir: b.TempDir(), Free: plenty, Pause: onward})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(saved.Size())
		if err := saved.Close(); err != nil {
			b.Error(err)
		}
		if err := view.Close(); err != nil {
			b.Error(err)
		}
	}
}
