// SPDX-License-Identifier: Apache-2.0

package command

import (
	"strings"
	"testing"

	"github.com/cleatd/cleat/daemon"
	"github.com/cleatd/cleat/state"
)

func TestARecoveryTellsWhatMayBeLost(t *testing.T) {
	const want = `Member 0000000000000abc is a cluster of its own now, 0000000000000def, at revision 7: start it.
The last 2 entries of its log count; they were not known to be agreed upon.
What these had acknowledged and it had not heard of is lost. They are no members any more;
empty their data directories before they join again:
  0000000000000001  one
  0000000000000002  two
`
	said := new(strings.Builder)
	tell(said, daemon.Recovered{
		Cluster: 0xdef, Member: 0xabc, Revision: 7, Unconfirmed: 2,
		Others: []state.Member{{ID: 1, Name: "one"}, {ID: 2, Name: "two"}},
	})
	if said.String() != want {
		t.Errorf("%s\nwant\n%s", said, want)
	}
	said.Reset()
	tell(said, daemon.Recovered{Cluster: 0xdef, Member: 0xabc, Revision: 7})
	if strings.Count(said.String(), "\n") != 1 {
		t.Errorf("of a member that was alone: %s", said)
	}
}
