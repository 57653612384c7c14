// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"errors"

	"golang.org/x/crypto/bcrypt"
)

// Faults of a request; they are etcd's.
var (
	ErrRootUserNotExist     = errors.New("auth: root user does not exist")
	ErrRootRoleNotExist     = errors.New("auth: root user does not have root role")
	ErrUserExists           = errors.New("auth: user already exists")
	ErrUserEmpty            = errors.New("auth: user name is empty")
	ErrUserNotFound         = errors.New("auth: user not found")
	ErrRoleExists           = errors.New("auth: role already exists")
	ErrRoleNotFound         = errors.New("auth: role not found")
	ErrRoleEmpty            = errors.New("auth: role name is empty")
	ErrPermissionNotGiven   = errors.New("auth: permission not given")
	ErrFailed               = errors.New("auth: authentication failed, invalid user ID or password")
	ErrNoPassword           = errors.New("auth: authentication failed, password was given for no password user")
	ErrDenied               = errors.New("auth: permission denied")
	ErrRoleNotGranted       = errors.New("auth: role is not granted to the user")
	ErrPermissionNotGranted = errors.New("auth: permission is not granted to the role")
	ErrNotEnabled           = errors.New("auth: authentication is not enabled")
	ErrOldRevision          = errors.New("auth: revision of the rules is old")
	ErrToken                = errors.New("auth: invalid auth token")
	ErrManagement           = errors.New("auth: invalid auth management")
)

// ErrTooLong is bcrypt's: it sees 72 bytes of a password.
var ErrTooLong = bcrypt.ErrPasswordTooLong

// ErrBusy is returned where too many wait for a hash already.
var ErrBusy = errors.New("auth: too many wait for a hash of their password")

// ErrVerifyOnly is returned by a member that has no key to sign tokens with.
var ErrVerifyOnly = errors.New("auth: token signing attempted with verify-only key")

// ErrRecord is returned for a record that is none of this format.
var ErrRecord = errors.New("auth: malformed record")

// ErrSetting is returned for a token setting that cannot be used.
var ErrSetting = errors.New("auth: token setting")
