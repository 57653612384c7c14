// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"

	hraft "github.com/hashicorp/raft"
)

func groupOf(commands ...string) []byte {
	var ps []*proposal
	for _, c := range commands {
		ps = append(ps, &proposal{command: []byte(c)})
	}
	return encodeGroup(ps)
}

func TestGroupRoundTrip(t *testing.T) {
	data := encodeGroup([]*proposal{{command: []byte("a")}, {barrier: true}, {command: nil}, {command: bytes.Repeat([]byte("b"), 300)}})
	got, err := appendGroup(nil, data)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || string(got[0]) != "a" || len(got[1]) != 0 || len(got[2]) != 300 {
		t.Fatalf("decoded %q", got)
	}
}

func TestGroupRefuses(t *testing.T) {
	whole := groupOf("one", "two")
	for name, data := range map[string][]byte{
		"nothing":                    {},
		"a count without commands":   {groupVersion, 2},
		"a count that overflows":     append([]byte{groupVersion}, bytes.Repeat([]byte{0xff}, 11)...),
		"a command cut short":        whole[:len(whole)-1],
		"bytes after the last":       append(bytes.Clone(whole), 0),
		"a length beyond the memory": {groupVersion, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
	} {
		if got, err := appendGroup(nil, data); err == nil {
			t.Errorf("%s: decoded as %q", name, got)
		}
	}
}

func TestNewerFormatsAreNamed(t *testing.T) {
	newer := append([]byte{groupVersion + 1}, groupOf("x")[1:]...)
	if _, err := appendGroup(nil, newer); err == nil || !strings.Contains(err.Error(), "format 2, this version reads 1") {
		t.Errorf("group: %v", err)
	}
	label := encodeLabel(&hraft.SnapshotMeta{Index: 3})
	label[0]++
	if _, err := decodeLabel(label); err == nil || !strings.Contains(err.Error(), "format 2, this version reads 1") {
		t.Errorf("label: %v", err)
	}
	d := &disk{files: logFiles{"log"}}
	l := &hraft.Log{Index: 3}
	sealed := seal(l)
	sealed[0]++
	if err := d.check(3, l, sealed); err == nil || !strings.Contains(err.Error(), "format 2, this version reads 1") {
		t.Errorf("log entry: %v", err)
	}
}

func FuzzGroup(f *testing.F) {
	f.Add(groupOf())
	f.Add(groupOf("a"))
	f.Add(groupOf("a", "", strings.Repeat("c", 200)))
	f.Add([]byte{groupVersion, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, data []byte) {
		commands, err := appendGroup(nil, data)
		if err != nil {
			return
		}
		var ps []*proposal
		for _, c := range commands {
			ps = append(ps, &proposal{command: c})
		}
		again, err := appendGroup(nil, encodeGroup(ps))
		if err != nil || len(again) != len(commands) {
			t.Fatalf("%d commands became %d: %v", len(commands), len(again), err)
		}
		for i := range commands {
			if !bytes.Equal(commands[i], again[i]) {
				t.Fatalf("command %d changed from %q to %q", i, commands[i], again[i])
			}
		}
	})
}

// FuzzLabel gives its input a good checksum, or nothing but the checksum would
// be tested.
func FuzzLabel(f *testing.F) {
	f.Add(encodeLabel(&hraft.SnapshotMeta{}))
	f.Add(encodeLabel(&hraft.SnapshotMeta{Index: 1 << 40, Term: 3, ConfigurationIndex: 9,
		Configuration: hraft.Configuration{Servers: []hraft.Server{{ID: "a", Address: "b"}, {Suffrage: hraft.Nonvoter, ID: "c"}}}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeLabel(binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, crcTable)))
		if err != nil {
			return
		}
		again, err := decodeLabel(encodeLabel(m))
		if err != nil || again.Index != m.Index || again.Term != m.Term ||
			len(again.Configuration.Servers) != len(m.Configuration.Servers) {
			t.Fatalf("%+v became %+v: %v", m, again, err)
		}
	})
}
