// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cleatd/cleat/kv"
)

// Tags of WatchResponse and mvccpb.Event, as in reply.go.
const (
	tagWatchID       = 2<<3 | byte(protowire.VarintType)
	tagWatchFragment = 7<<3 | byte(protowire.VarintType)
	tagWatchEvent    = 11<<3 | byte(protowire.BytesType)

	tagEventType   = 1<<3 | byte(protowire.VarintType)
	tagEventRecord = 2<<3 | byte(protowire.BytesType)
	tagEventPrev   = 3<<3 | byte(protowire.BytesType)

	eventDelete = 1
)

// change is one event as one watcher wants it.
type change struct {
	event    kv.Event
	previous kv.Record // nil if the watcher did not ask for it or there is none
}

// size is what the event takes within a response, tag and length included.
func (c change) size() int { return 1 + protowire.SizeBytes(c.body()) }

func (c change) body() int {
	size := 1 + protowire.SizeBytes(len(c.event.Record))
	if c.event.Delete {
		size += 2
	}
	if c.previous != nil {
		size += 1 + protowire.SizeBytes(len(c.previous))
	}
	return size
}

func (c change) append(b []byte) []byte {
	b = binary.AppendUvarint(append(b, tagWatchEvent), uint64(c.body()))
	if c.event.Delete {
		b = append(b, tagEventType, eventDelete)
	}
	b = binary.AppendUvarint(append(b, tagEventRecord), uint64(len(c.event.Record)))
	b = append(b, c.event.Record...)
	if c.previous != nil {
		b = binary.AppendUvarint(append(b, tagEventPrev), uint64(len(c.previous)))
		b = append(b, c.previous...)
	}
	return b
}

// maxWatchHead is what precedes the events of a response at most: header, id
// and fragment.
const maxWatchHead = maxHeader + 1 + binary.MaxVarintLen64 + 2

// events writes a WatchResponse: events that one watcher is sent up to a
// revision. No events is progress.
func (h header) events(watch, revision int64, changes []change, fragment bool) parts {
	size := maxWatchHead
	for _, c := range changes {
		size += c.size()
	}
	return pooled(size, func(b []byte) []byte {
		b = appendNumber(h.append(b, revision), tagWatchID, uint64(watch))
		if fragment {
			b = append(b, tagWatchFragment, 1)
		}
		for _, c := range changes {
			b = c.append(b)
		}
		return b
	})
}

// fragments cuts changes into pieces of less than limit bytes each, but at
// least one event, and calls send for each; more says that others follow.
func fragments(changes []change, limit int, send func(piece []change, more bool) error) error {
	for {
		size, n := maxWatchHead, 0
		for n < len(changes) {
			size += changes[n].size()
			if n > 0 && size >= limit {
				break
			}
			n++
		}
		if err := send(changes[:n], n < len(changes)); err != nil {
			return err
		}
		if n == len(changes) {
			return nil
		}
		changes = changes[n:]
	}
}
