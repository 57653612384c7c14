// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// completionRequest is the word behind which the library, asked by a shell's
// script, lists what could come next.
const completionRequest = "--generate-bash-completion"

const bashCompletion = `_cleatctl() {
  local current="${COMP_WORDS[COMP_CWORD]}"
  local typed=("${COMP_WORDS[@]:0:$COMP_CWORD}")
  [[ "$current" == -* ]] && typed+=("$current")
  COMPREPLY=($(compgen -W "$("${typed[@]}" --generate-bash-completion 2>/dev/null)" -- "$current"))
}
complete -o bashdefault -o default -F _cleatctl cleatctl
`

const zshCompletion = `#compdef cleatctl
_cleatctl() {
  local -a choices
  local current="${words[CURRENT]}"
  if [[ "$current" == -* ]]; then
    choices=("${(@f)$("${words[@]:0:$CURRENT}" --generate-bash-completion 2>/dev/null)}")
  else
    choices=("${(@f)$("${words[@]:0:$CURRENT-1}" --generate-bash-completion 2>/dev/null)}")
  fi
  compadd -- "${choices[@]}"
}
if [[ "${funcstack[1]}" == _cleatctl ]]; then
  _cleatctl "$@" # loaded from fpath by the first completion, which this is
else
  compdef _cleatctl cleatctl
fi
`

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print what makes a shell complete commands and flags",
		ArgsUsage: "bash|zsh|fish",
		Description: `Examples:
  source <(cleatctl completion bash)
  cleatctl completion zsh > "${fpath[1]}/_cleatctl"
  cleatctl completion fish > ~/.config/fish/completions/cleatctl.fish`,
		Action: completion,
	}
}

func completion(c *cli.Context) error {
	var script string
	var err error
	switch c.Args().First() {
	case "bash":
		script = bashCompletion
	case "zsh":
		script = zshCompletion
	case "fish":
		script, err = c.App.ToFishCompletion()
		script = strings.ReplaceAll(script, "`", "") // the library leaves the marks of flags' values in
	default:
		return misuse("completion needs the shell's name: bash, zsh or fish")
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(c.App.Writer, script)
	return err
}
