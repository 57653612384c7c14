// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	hraft "github.com/hashicorp/raft"
)

func someEntries() *hraft.AppendEntriesRequest {
	return &hraft.AppendEntriesRequest{
		RPCHeader: hraft.RPCHeader{ProtocolVersion: 3, ID: []byte("0001"), Addr: []byte("0001")},
		Term:      1 << 40, PrevLogEntry: 9, PrevLogTerm: 8, LeaderCommitIndex: 7,
		Entries: []*hraft.Log{
			{Index: 10, Term: 1 << 40, Data: []byte("command"), AppendedAt: time.Unix(7, 9)},
			{Index: 11, Term: 1 << 40, Type: hraft.LogConfiguration, Data: bytes.Repeat([]byte("c"), 300)},
		},
	}
}

func TestEntriesArriveAsTheyWereSent(t *testing.T) {
	want := someEntries()
	got, err := decodeRequest(appendRequest(nil, want)[4:])
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	answer := &hraft.AppendEntriesResponse{RPCHeader: want.RPCHeader, Term: 3, LastLog: 4, Success: true, NoRetryBackoff: true}
	var again hraft.AppendEntriesResponse
	if err := decodeEntriesAnswer(appendEntriesAnswer(nil, answer, nil)[4:], &again); err != nil || !reflect.DeepEqual(&again, answer) {
		t.Errorf("%+v, %v; want %+v", again, err, answer)
	}
	if err := decodeEntriesAnswer(appendEntriesAnswer(nil, answer, errors.New("why"))[4:], &again); err == nil || err.Error() != "why" {
		t.Errorf("the other member's error became %v", err)
	}
}

// A member that sends too much, or damage, loses its stream, and nothing else.
func TestAStreamOfDamageIsClosed(t *testing.T) {
	c := three(t)
	leader := c.leader()
	other := c.others(leader.config.Member)[0]
	for name, sent := range map[string][]byte{
		"damage":            {entriesMark, 0, 0, 0, 3, 1, 2, 3},
		"an endless length": {entriesMark, 0xff, 0xff, 0xff, 0xff},
		"another format":    {entriesMark + 1, 0, 0, 0, 3, 1, 2, 3},
	} {
		s, err := other.transport.streams.Dial(other.transport.target(leader.id, hraft.ServerAddress(address(leader.config.Member))), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		_, wrote := s.Write(sent)
		n, err := s.Read(make([]byte, 1))
		if n != 0 || err == nil {
			t.Errorf("%s: it answers %d bytes, %v (%v)", name, n, err, wrote)
		}
		_ = s.Close() // it is
	}
	leader.write(t, "after")
	c.agree(t, "after")
}

func FuzzEntries(f *testing.F) {
	f.Add(appendRequest(nil, someEntries())[4:])
	f.Add(appendRequest(nil, &hraft.AppendEntriesRequest{})[4:])
	f.Add(appendEntriesAnswer(nil, &hraft.AppendEntriesResponse{Success: true}, errors.New("x"))[4:])
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := decodeRequest(data); err == nil {
			again, err := decodeRequest(appendRequest(nil, r)[4:])
			if err != nil || !bytes.Equal(appendRequest(nil, again), appendRequest(nil, r)) {
				t.Fatalf("%+v became %+v: %v", r, again, err)
			}
		}
		var a, again hraft.AppendEntriesResponse
		if cause := decodeEntriesAnswer(data, &a); !errors.Is(cause, errMessage) {
			if same := decodeEntriesAnswer(appendEntriesAnswer(nil, &a, cause)[4:], &again); !reflect.DeepEqual(a, again) || (same == nil) != (cause == nil) {
				t.Fatalf("%+v, %v became %+v, %v", a, cause, again, same)
			}
		}
	})
}

func TestManyEntriesAreNotTaken(t *testing.T) {
	r := &hraft.AppendEntriesRequest{}
	for range maxEntries + 1 {
		r.Entries = append(r.Entries, &hraft.Log{})
	}
	if _, err := decodeRequest(appendRequest(nil, r)[4:]); !errors.Is(err, errMessage) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("err %v", err)
	}
}
