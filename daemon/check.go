// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cleatd/cleat/auth"
)

// Check says all that a start would refuse of a configuration, as Load is given it,
// as far as that can be told without starting: nothing is written or listened on.
// Its errors wrap ErrConfig and are Faults.
func Check(path string, environ []string, flags map[string]string) (Config, error) {
	c, err := Load(path, environ, flags)
	var found Faults
	if err != nil && !errors.As(err, &found) {
		return c, err
	}
	add := func(setting string, err error) {
		if err != nil {
			found = append(found, Fault{Setting: setting, What: withoutErrConfig(err)})
		}
	}
	_, err = auth.ParseTokenSetting(c.AuthToken)
	add("auth-token", err)
	m, err := readMember(c.DataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist): // the first start may join
		address, err := joinAddress(&c)
		if err == nil && address != "" {
			_, err = tokenOf(&c, address)
		}
		add("", err)
	case err != nil:
		add("data-dir", err)
	default:
		d := dataDir{path: c.DataDir, member: m}
		add("", d.fits(c.RaftLog))
	}
	return c, found.err()
}

func readMember(dir string) (m memberFile, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, "member.json"))
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(raw, &m)
}

// withoutErrConfig is the text of an error that wraps ErrConfig, for where all do.
func withoutErrConfig(err error) string {
	text, prefix := err.Error(), ErrConfig.Error()+": "
	if len(text) > len(prefix) && text[:len(prefix)] == prefix {
		return text[len(prefix):]
	}
	return text
}
