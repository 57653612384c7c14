// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// The members as their cluster knows them by name and address. Who votes is
// raft's to say; this is who they are, who was announced and has not come yet,
// and who was removed, which is kept for ever.
//
// Member:  tableMember <id>  -> version, flags, name, peer URLs, client URLs, format if any
// Removed: tableRemoved <id> -> version

// Faults of a change of members.
var (
	// ErrMemberExists: a member that is announced or joins has the id of another.
	ErrMemberExists = errors.New("state: member exists already")
	// ErrMemberName: another member has the name.
	ErrMemberName = errors.New("state: another member has this name")
	// ErrPeerURL: another member is reached by one of the URLs.
	ErrPeerURL = errors.New("state: another member has this peer URL")
	// ErrMemberNotFound: there is no such member.
	ErrMemberNotFound = errors.New("state: member not found")
	// ErrMemberRemoved: the member was removed, and ids are never used again.
	ErrMemberRemoved = errors.New("state: member was removed")
	// ErrTooManyLearners: there are MaxLearners already.
	ErrTooManyLearners = errors.New("state: too many learners")
)

// MaxLearners is how many members may be learners for good, those included who
// are announced; etcd's default. Who is to vote once it has caught up is none.
// Whatever is replayed must meet the same number.
const MaxLearners = 1

// Member is one row of the table.
type Member struct {
	ID         uint64
	Name       string // empty until it has come
	PeerURLs   []string
	ClientURLs []string
	Learner    bool   // it is to stay one; who only has not caught up yet is not meant
	Reserved   bool   // announced, and has not come yet
	Leaving    bool   // its removal has begun
	Format     uint32 // the newest that it reads; zero is taken for 1
}

const memberVersion = 1

const (
	memberLearner  = 1
	memberReserved = 2
	memberLeaving  = 4
)

// MemberAddCommand returns the command that writes a row that must be new:
// ErrMemberExists. The result is also one of MemberSetCommand's.
func MemberAddCommand(id Identity, m Member) []byte { return memberCommand(kindMemberAdd, id, m) }

// MemberSetCommand returns the command that writes a member's row, or replaces
// it but for Leaving and Learner: one that has come stays what it is, and one that was
// announced as a learner comes as one. The result is ErrMemberRemoved,
// ErrMemberName, ErrPeerURL, ErrTooManyLearners or ErrFormat if that stands
// against it.
func MemberSetCommand(id Identity, m Member) []byte { return memberCommand(kindMemberSet, id, m) }

func memberCommand(k kind, id Identity, m Member) []byte {
	return append(binary.BigEndian.AppendUint64(appendPrefix(nil, k, id), m.ID), encodeMember(m)...)
}

// MemberPromoteCommand returns the command after which the member need not stay
// a learner. The result may be ErrMemberNotFound or ErrMemberRemoved.
func MemberPromoteCommand(id Identity, member uint64) []byte {
	return binary.BigEndian.AppendUint64(appendPrefix(nil, kindMemberPromote, id), member)
}

// MemberLeaveCommand returns the command that notes that a member's removal has
// begun, or was given up. Whoever leads can so finish what another began. The
// result may be ErrMemberNotFound or ErrMemberRemoved.
func MemberLeaveCommand(id Identity, member uint64, leaving bool) []byte {
	k := kindMemberStay
	if leaving {
		k = kindMemberLeave
	}
	return binary.BigEndian.AppendUint64(appendPrefix(nil, k, id), member)
}

// MemberRemoveCommand returns the command that removes a member's row for good,
// whether there is one or not.
func MemberRemoveCommand(id Identity, member uint64) []byte {
	return binary.BigEndian.AppendUint64(appendPrefix(nil, kindMemberRemove, id), member)
}

func encodeMember(m Member) []byte {
	var flags byte
	if m.Learner {
		flags |= memberLearner
	}
	if m.Reserved {
		flags |= memberReserved
	}
	if m.Leaving {
		flags |= memberLeaving
	}
	b := appendField([]byte{memberVersion, flags}, []byte(m.Name))
	for _, urls := range [][]string{m.PeerURLs, m.ClientURLs} {
		b = binary.AppendVarint(b, int64(len(urls)))
		for _, u := range urls {
			b = appendField(b, []byte(u))
		}
	}
	if m.Format != 0 {
		b = binary.AppendVarint(b, int64(m.Format))
	}
	return b
}

func decodeMember(id uint64, b []byte) (Member, error) {
	if len(b) < 2 || b[0] != memberVersion {
		return Member{}, fmt.Errorf("%w: member %016x", ErrCommand, id)
	}
	f := fields{rest: b[2:]}
	m := Member{
		ID: id, Name: string(f.bytes()),
		Learner: b[1]&memberLearner != 0, Reserved: b[1]&memberReserved != 0, Leaving: b[1]&memberLeaving != 0,
	}
	for _, urls := range []*[]string{&m.PeerURLs, &m.ClientURLs} {
		for n := f.varint(); n > 0 && f.err == nil; n-- {
			*urls = append(*urls, string(f.bytes()))
		}
	}
	if len(f.rest) != 0 {
		format := f.varint()
		if m.Format = uint32(format); format <= 0 || format > math.MaxUint32 {
			f.cut()
		}
	}
	if f.err != nil || len(f.rest) != 0 {
		return Member{}, fmt.Errorf("%w: member %016x", ErrCommand, id)
	}
	return m, nil
}

func memberKey(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

func cutMember(body []byte) (id uint64, rest []byte, err error) {
	if len(body) < 8 || binary.BigEndian.Uint64(body) == 0 {
		return 0, nil, fmt.Errorf("%w: member of %d bytes", ErrCommand, len(body))
	}
	return binary.BigEndian.Uint64(body), body[8:], nil
}

func (a *applier) memberSet(body []byte, fresh bool) (Reply, error) {
	id, rest, err := cutMember(body)
	if err != nil {
		return Reply{}, err
	}
	m, err := decodeMember(id, rest)
	if err != nil {
		return Reply{}, err
	}
	t, err := readRoll(a.batch)
	if err != nil {
		return Reply{}, err
	}
	if !m.Reserved && max(m.Format, firstFormat) < t.format {
		return Reply{}, ErrFormat
	}
	if err := t.mayHave(m); err != nil {
		return Reply{}, err
	}
	was, known := t.members[id]
	switch {
	case known && fresh:
		return Reply{}, ErrMemberExists
	case known && was.Reserved:
		m.Learner = m.Learner || was.Learner
	case known:
		m.Learner = was.Learner
	}
	if m.Learner && !was.Learner && len(t.learners()) >= MaxLearners {
		return Reply{}, ErrTooManyLearners
	}
	m.Leaving = was.Leaving
	return a.changed(func() { a.batch.Set(tableMember, memberKey(id), encodeMember(m)) })
}

func (a *applier) memberPromote(body []byte) (Reply, error) {
	return a.memberChange(body, func(m *Member) { m.Learner = false })
}

// memberChange changes a row that must be there.
func (a *applier) memberChange(body []byte, change func(*Member)) (Reply, error) {
	id, _, err := cutMember(body)
	if err != nil {
		return Reply{}, err
	}
	t, err := readRoll(a.batch)
	if err != nil {
		return Reply{}, err
	}
	m, known := t.members[id]
	switch {
	case t.removed[id]:
		return Reply{}, ErrMemberRemoved
	case !known:
		return Reply{}, ErrMemberNotFound
	}
	change(&m)
	return a.changed(func() { a.batch.Set(tableMember, memberKey(id), encodeMember(m)) })
}

func (a *applier) memberRemove(body []byte) (Reply, error) {
	id, _, err := cutMember(body)
	if err != nil {
		return Reply{}, err
	}
	alarms, err := readAlarms(a.batch)
	if err != nil {
		return Reply{}, err
	}
	return a.changed(func() {
		a.batch.Delete(tableMember, memberKey(id))
		a.batch.Set(tableRemoved, memberKey(id), []byte{memberVersion})
		left := slices.DeleteFunc(alarms, func(alarm Alarm) bool {
			gone := alarm.Member == id && alarm.Passing // nobody else takes it back
			if gone {
				a.batch.Delete(tableAlarm, alarmKey(alarm))
			}
			return gone
		})
		a.alarmed = alarmedBy(left)
	})
}

// RecoverCommand makes the state that of another cluster, whose only member is
// self. All other members count as removed. It is for a member that goes on
// alone after the majority was lost; it is never proposed.
func RecoverCommand(cluster, self uint64) []byte {
	b := binary.BigEndian.AppendUint64(appendPrefix(nil, kindRecover, Identity{Root: true}), cluster)
	return append(b, memberKey(self)...)
}

func (a *applier) recoverAs(body []byte) (Reply, error) {
	if len(body) != 16 || binary.BigEndian.Uint64(body) == 0 {
		return Reply{}, fmt.Errorf("%w: recovery of %d bytes", ErrCommand, len(body))
	}
	self, _, err := cutMember(body[8:])
	if err != nil {
		return Reply{}, err
	}
	t, err := readRoll(a.batch)
	if err != nil {
		return Reply{}, err
	}
	return a.changed(func() {
		a.batch.Set(tableMeta, metaCluster, body[:8])
		for id, m := range t.members {
			if id == self {
				m.Learner, m.Leaving = false, false
				a.batch.Set(tableMember, memberKey(id), encodeMember(m))
				continue
			}
			a.batch.Delete(tableMember, memberKey(id))
			a.batch.Set(tableRemoved, memberKey(id), []byte{memberVersion})
		}
		for _, alarm := range t.alarms { // there is nobody left to differ from
			a.batch.Delete(tableAlarm, alarmKey(alarm))
		}
		a.alarmed = alarmed{}
	})
}

func (a *applier) changed(change func()) (Reply, error) {
	change()
	a.rows = true
	return Reply{Revision: a.revision()}, nil
}

// roll is in memory what the small tables have; it is never changed.
type roll struct {
	members map[uint64]Member
	removed map[uint64]bool
	format  uint32 // that the cluster has agreed upon
	alarms  []Alarm
	changed chan struct{} // closed when there is a newer one
}

// scanner is the store, at some moment or now, or a batch that is being applied.
type scanner interface {
	Scan(table byte, prefix []byte, fn func(key, value []byte) error) error
}

func readRoll(s scanner) (*roll, error) {
	t := &roll{members: map[uint64]Member{}, removed: map[uint64]bool{}, changed: make(chan struct{})}
	var err error
	if t.format, err = readFormat(s); err != nil {
		return nil, err
	}
	if t.alarms, err = readAlarms(s); err != nil {
		return nil, err
	}
	err = s.Scan(tableMember, nil, func(key, value []byte) error {
		if len(key) != 8 {
			return fmt.Errorf("%w: member's key of %d bytes", ErrCommand, len(key))
		}
		m, err := decodeMember(binary.BigEndian.Uint64(key), value)
		t.members[m.ID] = m
		return err
	})
	if err != nil {
		return nil, err
	}
	return t, s.Scan(tableRemoved, nil, func(key, _ []byte) error {
		if len(key) != 8 {
			return fmt.Errorf("%w: member's key of %d bytes", ErrCommand, len(key))
		}
		t.removed[binary.BigEndian.Uint64(key)] = true
		return nil
	})
}

// mayHave says what stands against a row.
func (t *roll) mayHave(m Member) error {
	if t.removed[m.ID] {
		return ErrMemberRemoved
	}
	for id, other := range t.members {
		if id == m.ID {
			continue
		}
		if m.Name != "" && m.Name == other.Name {
			return ErrMemberName
		}
		for _, u := range m.PeerURLs {
			if slices.Contains(other.PeerURLs, u) {
				return ErrPeerURL
			}
		}
	}
	return nil
}

// learners are those who are to stay what they are.
func (t *roll) learners() []uint64 {
	var found []uint64
	for id, m := range t.members {
		if m.Learner {
			found = append(found, id)
		}
	}
	return found
}

// reload takes over what the store has. It must be called again whenever the
// store is replaced.
func (m *Machine) reload() error {
	format, err := readFormat(m.store)
	if err == nil && format > m.newest {
		m.roll.Swap(&roll{format: format, changed: make(chan struct{})}) // the rest may not be readable
		return m.Readable()
	}
	next, err := readRoll(m.store)
	if err != nil {
		return fmt.Errorf("read the members, alarms and format: %w", err)
	}
	if last := m.roll.Swap(next); last != nil {
		close(last.changed)
	}
	return nil
}

// Members returns all rows, by id, from memory.
func (m *Machine) Members() []Member {
	return slices.SortedFunc(maps.Values(m.roll.Load().members), func(a, b Member) int {
		return strings.Compare(string(memberKey(a.ID)), string(memberKey(b.ID)))
	})
}

// Member returns one row, from memory.
func (m *Machine) Member(id uint64) (Member, bool) {
	row, known := m.roll.Load().members[id]
	return row, known
}

// Removed says that a member was removed. It answers from memory.
func (m *Machine) Removed(id uint64) bool { return m.roll.Load().removed[id] }

// MembersChanged returns a channel that is closed when Members or Removed
// answer something else than now.
func (m *Machine) MembersChanged() <-chan struct{} { return m.roll.Load().changed }
