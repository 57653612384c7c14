// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// bundle is the three files that a client over the network needs.
type bundle struct{ cert, key, ca string }

func newBundle(dir, name string) bundle {
	return bundle{
		cert: filepath.Join(dir, name+".crt"),
		key:  filepath.Join(dir, name+".key"),
		ca:   filepath.Join(dir, "ca.crt"),
	}
}

// absent refuses to replace a certificate or a key, and is asked before one
// is issued in vain.
func (b bundle) absent() error {
	for _, path := range []string{b.cert, b.key} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there already: choose another --out DIR, or replace it with --force", path)
		}
	}
	return nil
}

// write lays the files down, each whole or not at all. A ca.crt that is there
// may serve certificates issued before, so another one's is not replaced.
func (b bundle) write(key, chain, roots []byte, force bool) error {
	if err := os.MkdirAll(filepath.Dir(b.cert), 0o700); err != nil {
		return err
	}
	old, err := os.ReadFile(b.ca)
	if err == nil && !bytes.Equal(old, roots) && !force {
		return fmt.Errorf("%s is another bundle: choose another --out DIR, or replace it with --force", b.ca)
	}
	for _, file := range []struct {
		path    string
		content []byte
	}{{b.ca, roots}, {b.key, key}, {b.cert, chain}} {
		if err := replace(file.path, file.content); err != nil {
			return fmt.Errorf("write %s: %w", file.path, err)
		}
	}
	return nil
}

// replace puts a file readable by its owner alone in one step in place of what
// was there. CreateTemp makes it 0600.
func replace(path string, content []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".cleatctl-*")
	if err != nil {
		return err
	}
	_, err = temporary.Write(content)
	err = errors.Join(err, temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}
