// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// A member that crashed begins with a state that is older than what it had
// applied, and catches up once it hears a leader. Its doors are open before that,
// so what it knows to be revoked lies in a file, too:
//
//	Dir/revoked.json:  {"format": 1, "revoked": {<serial>: <Unix time until which it counts, 0: always>}}
//
// What is in the file counts beside what the state has, until its time is over:
// a revocation is never taken back.

const (
	revokedFile   = "revoked.json"
	revokedFormat = 1
)

type keptRevocations struct {
	Format  int              `json:"format"`
	Revoked map[string]int64 `json:"revoked"`
}

func (a *Authority) keptPath() string { return filepath.Join(a.config.Dir, revokedFile) }

// readKept returns what the file has; one that cannot be read is told of and does
// without, since the state has it all.
func (a *Authority) readKept() map[string]int64 {
	out := map[string]int64{}
	text, err := os.ReadFile(a.keptPath())
	if errors.Is(err, fs.ErrNotExist) {
		return out
	}
	var kept keptRevocations
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err == nil && kept.Format != revokedFormat {
		err = fmt.Errorf("%w: format %d, this version reads %d", ErrFormat, kept.Format, revokedFormat)
	}
	if err != nil {
		a.log.Warn("what was revoked is known only once the state has caught up", "file", a.keptPath(), "err", err)
		return out
	}
	for serial, until := range kept.Revoked {
		if n, ok := new(big.Int).SetString(serial, 10); ok {
			out[string(n.Bytes())] = until
		}
	}
	return out
}

// keep writes what counts now. A file that cannot be written is told of: the
// state has it all.
func (a *Authority) keep(s *serials) {
	kept := keptRevocations{revokedFormat, make(map[string]int64, len(s.all))}
	for serial, until := range s.all {
		kept.Revoked[new(big.Int).SetBytes([]byte(serial)).String()] = until
	}
	text, err := json.Marshal(kept)
	if err == nil {
		err = writeFile(a.keptPath(), text)
	}
	if err != nil {
		a.log.Warn("what was revoked is not kept beside the state; a crash could forget it for a moment", "err", err)
	}
}

func over(until int64, now time.Time) bool { return until != 0 && until < now.Unix() }
