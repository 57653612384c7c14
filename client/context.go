// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A context is a bundle with a name, which "cleatctl login" makes:
//
//	<the user's configuration directory>/cleat/contexts/NAME/   a bundle
//	<the user's configuration directory>/cleat/current          the NAME that is meant when none is said
//
// The configuration directory is that of [os.UserConfigDir].

// What a caller decides upon.
var (
	// ErrNoContext means that there is no context of that name, or none at all.
	ErrNoContext = errors.New("client: no such context")
	// ErrContextName refuses what cannot be the name of a directory everywhere.
	ErrContextName = errors.New("client: not a name for a context")
)

var contextName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)

func home() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the configuration directory: %w", err)
	}
	return filepath.Join(dir, "cleat"), nil
}

// ContextDir is where a context's bundle lies, or would. The error is
// ErrContextName if nothing can have that name.
func ContextDir(name string) (string, error) {
	if !contextName.MatchString(name) {
		return "", fmt.Errorf("%w: %q: at most 64 letters, digits, points, hyphens and underscores, the first of them a letter or digit", ErrContextName, name)
	}
	dir, err := home()
	return filepath.Join(dir, "contexts", name), err
}

// Contexts are the names of all contexts, sorted. Who has no configuration
// directory, as a service may not, has none.
func Contexts() ([]string, error) {
	dir, err := home()
	if err != nil {
		return nil, nil
	}
	entries, err := os.ReadDir(filepath.Join(dir, "contexts"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() && contextName.MatchString(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// CurrentContext is the name of the context that is meant when none is said, ""
// if none is.
func CurrentContext() (string, error) {
	dir, err := home()
	if err != nil {
		return "", nil // who has no such directory has no contexts
	}
	text, err := os.ReadFile(filepath.Join(dir, "current"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}

// UseContext makes a context the current one. The error is ErrNoContext if there
// is none of that name.
func UseContext(name string) error {
	dir, err := existing(name)
	if err != nil {
		return err
	}
	return replace(filepath.Join(filepath.Dir(filepath.Dir(dir)), "current"), []byte(name+"\n"))
}

// ForgetContext removes a context with its key; if it was the current one, there
// is none afterwards. The error is ErrNoContext if there is none of that name.
func ForgetContext(name string) error {
	dir, err := existing(name)
	if err != nil {
		return err
	}
	// What names it goes first, what nothing can be done without next.
	if current, err := CurrentContext(); err == nil && current == name {
		if err := os.Remove(filepath.Join(filepath.Dir(filepath.Dir(dir)), "current")); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(dir, identityFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(dir)
}

// existing is the directory of a context that there is.
func existing(name string) (string, error) {
	dir, err := ContextDir(name)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return "", fmt.Errorf("%w: %q, which would be %s", ErrNoContext, name, dir)
	} else if err != nil {
		return "", err
	}
	return dir, nil
}

// replace puts a file that only its owner reads in the place of what was there,
// in one step. Its directory is made if it is missing, for its owner alone.
func replace(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return exchange(path, content)
}

// exchange is replace in a directory that there must be.
func exchange(path string, content []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".new-*") // its mode is 0600
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
