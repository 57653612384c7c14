// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"fmt"
	"time"
)

// Profile is what a certificate is for.
type Profile string

// The profiles.
const (
	Peer   Profile = "peer"   // a member: speaks and listens, named by its URI
	Client Profile = "client" // a user, named by the common name; cannot listen
	Server Profile = "server" // some service of the fleet; opens no door of ours
)

const (
	// DefaultMemberTTL is the life of a member's certificate, which renews
	// itself: short enough that a stolen key is soon worth nothing, long enough
	// for a member that is off over the holidays.
	DefaultMemberTTL = 30 * 24 * time.Hour
	// DefaultClientTTL is the life of a client's or service's certificate when
	// nobody says otherwise.
	DefaultClientTTL = 90 * 24 * time.Hour

	// minTTL is one second because certificates know no smaller unit.
	minTTL = time.Second
	// maxTTL is a year, leap years included.
	maxTTL = 366 * 24 * time.Hour
	// caTTL is the life of the root and the intermediate.
	caTTL = 10 * 365 * 24 * time.Hour

	// maxClockDifference is how far the clock of a machine that joins may be from
	// ours.
	maxClockDifference = 5 * time.Minute
	// backdate makes a new certificate valid on a machine whose clock is behind,
	// and one of a machine whose clock is ahead valid here.
	backdate = maxClockDifference + time.Minute
)

// The templates say everything that goes into a certificate: what is not named
// here cannot be asked for.
var templates = map[Profile]string{
	Peer: `{
	"subject": {{ toJson .Subject }},
	"sans": {{ toJson .SANs }},
	"keyUsage": ["digitalSignature"],
	"extKeyUsage": ["serverAuth", "clientAuth"]
}`,
	Client: `{
	"subject": {{ toJson .Subject }},
	"keyUsage": ["digitalSignature"],
	"extKeyUsage": ["clientAuth"]
}`,
	Server: `{
	"subject": {{ toJson .Subject }},
	"sans": {{ toJson .SANs }},
	"keyUsage": ["digitalSignature"],
	"extKeyUsage": ["serverAuth"]
}`,
}

// ParseProfile returns the profile of that name. The error is ErrProfile.
func ParseProfile(name string) (Profile, error) {
	p := Profile(name)
	if _, known := templates[p]; !known {
		return "", fmt.Errorf("%w: %q is none of peer, client, server", ErrProfile, name)
	}
	return p, nil
}
