// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/urfave/cli/v2"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// watchInteractively starts a watch for each line that asks for one. All
// share one connection, and the end of the input ends them.
func watchInteractively(c *cli.Context) error {
	s, err := open(c, keyForms, chooseDoor)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer s.Close()
	input := bufio.NewReader(c.App.Reader)
	for {
		line, err := input.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return errors.New("read watch request line: end of input, which ends the watches")
		}
		if err != nil {
			return fmt.Errorf("read watch request line: %w", err)
		}
		if err := s.obey(line, &running); err != nil {
			fmt.Fprintf(c.App.ErrWriter, "cleatctl: %v\n", err)
		}
	}
}

// obey does what one line says. Its error is told and the next line read.
func (s *session) obey(line string, running *sync.WaitGroup) error {
	tokens, err := words(line)
	if err != nil {
		return err
	}
	switch {
	case len(tokens) > 0 && tokens[0] == "watch":
	case len(tokens) == 1 && tokens[0] == "progress":
		return s.RequestProgress(clientv3.WithRequireLeader(s.c.Context))
	default:
		return misuse("a line is \"watch KEY\" or \"progress\"")
	}
	parsed, err := parseLine(s.c, watchCommand(), tokens[1:])
	if err != nil {
		return err
	}
	w, err := readWatch(parsed)
	if err != nil {
		return err
	}
	running.Go(func() {
		if err := s.follow(w); err != nil {
			report(s.c.App.ErrWriter, err)
		}
	})
	return nil
}
