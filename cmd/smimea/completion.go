package main

import (
	"flag"
	"fmt"
	"strings"
)

var completionVerb = verb{
	name:     "completion",
	synopsis: "bash | zsh | fish",
	summary:  "a script that completes verbs and flags in a shell",
	help: `
Prints a script for a shell, made from the verbs and flags that there are.

  smimea completion bash > /etc/bash_completion.d/smimea
  smimea completion zsh > /usr/local/share/zsh/site-functions/_smimea
  smimea completion fish > /etc/fish/completions/smimea.fish
`,
	setup: func(*flag.FlagSet) action { return completion },
}

type completionJSON struct {
	Schema string `json:"schema"` // smimea-completion/1
	Shell  string `json:"shell"`
	Script string `json:"script"`
}

func completion(u *ui, operands []string) (exit, error) {
	if len(operands) != 1 {
		return 0, usageError("one shell is wanted: bash, zsh or fish")
	}
	script, ok := map[string]func() string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[operands[0]]
	if !ok {
		return 0, usageError("there is no completion for " + quote(operands[0]) + ", only for bash, zsh and fish")
	}
	if u.json {
		return exitOK, u.emit(completionJSON{"smimea-completion/1", operands[0], script()})
	}
	u.print("%s", script())
	return exitOK, nil
}

// eachFlag calls f for the flags of a verb.
func eachFlag(v *verb, f func(option *flag.Flag, value, text string)) {
	flags := v.flags(nil)
	v.common(flags, new(ui))
	flags.VisitAll(func(option *flag.Flag) {
		value, text := flag.UnquoteUsage(option)
		f(option, value, text)
	})
}

// words are the values that some flags and verbs take, where they are few.
var words = map[string]string{
	"-for": "encrypt sign", "-format": "zone rfc3597 nsupdate", "-case": "lower exact",
	"-layout": "sub whole beside", "-algorithm": "ECDSAP256SHA256 ECDSAP384SHA384 ED25519 RSASHA256",
}

func bashCompletion() string {
	var names []string
	var cases strings.Builder
	for _, v := range verbs {
		names = append(names, v.name)
		var flags []string
		eachFlag(v, func(option *flag.Flag, _, _ string) { flags = append(flags, "-"+option.Name) })
		fmt.Fprintf(&cases, "        %s) flags=%q ;;\n", v.name, strings.Join(flags, " "))
	}
	var values strings.Builder
	for _, name := range []string{"-algorithm", "-case", "-for", "-format", "-layout"} {
		fmt.Fprintf(&values, "        %s) COMPREPLY=($(compgen -W %q -- \"$cur\")); return ;;\n", name, words[name])
	}
	return fmt.Sprintf(`# bash completion for smimea
_smimea() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} flags=
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W %q -- "$cur"))
        return
    fi
    case $prev in
%s    esac
    case ${COMP_WORDS[1]} in
%s    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$cur"))
    elif [[ ${COMP_WORDS[1]} == completion ]]; then
        COMPREPLY=($(compgen -W "bash zsh fish" -- "$cur"))
    fi
}
complete -o default -F _smimea smimea
`, strings.Join(append(names, "help"), " "), &values, &cases)
}

func zshCompletion() string {
	quoted := func(s string) string {
		return strings.NewReplacer("'", `'\''`, "[", `\[`, "]", `\]`, ":", `\:`).Replace(s)
	}
	var names, cases strings.Builder
	for _, v := range verbs {
		fmt.Fprintf(&names, "        '%s:%s'\n", v.name, quoted(v.summary))
		fmt.Fprintf(&cases, "    %s)\n        _arguments -S", v.name)
		eachFlag(v, func(option *flag.Flag, value, text string) {
			fmt.Fprintf(&cases, " \\\n            '*-%s[%s]", option.Name, quoted(text))
			switch list := words["-"+option.Name]; {
			case list != "":
				fmt.Fprintf(&cases, ":%s:(%s)", quoted(value), list)
			case value != "":
				fmt.Fprintf(&cases, ":%s:_files", quoted(value))
			}
			cases.WriteString("'")
		})
		operand := "_files"
		if v.name == "completion" {
			operand = "(bash zsh fish)"
		}
		fmt.Fprintf(&cases, " \\\n            '*:operand:%s'\n        ;;\n", operand)
	}
	return fmt.Sprintf(`#compdef smimea
_smimea() {
    local -a verbs=(
%s    )
    if ((CURRENT == 2)); then
        _describe verb verbs
        return
    fi
    local verb=$words[2]
    shift words
    ((CURRENT--))
    case $verb in
%s    esac
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _smimea "$@"
else
    compdef _smimea smimea
fi
`, &names, &cases)
}

func fishCompletion() string {
	quoted := func(s string) string { return strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) }
	var b strings.Builder
	b.WriteString("# fish completion for smimea\n")
	for _, v := range verbs {
		fmt.Fprintf(&b, "complete -c smimea -f -n __fish_use_subcommand -a %s -d '%s'\n", v.name, quoted(v.summary))
	}
	for _, v := range verbs {
		in := "'__fish_seen_subcommand_from " + v.name + "'"
		eachFlag(v, func(option *flag.Flag, value, text string) {
			fmt.Fprintf(&b, "complete -c smimea -n %s -o %s", in, option.Name)
			switch list := words["-"+option.Name]; {
			case list != "":
				fmt.Fprintf(&b, " -x -a '%s'", list)
			case value != "":
				b.WriteString(" -r")
			}
			fmt.Fprintf(&b, " -d '%s'\n", quoted(text))
		})
	}
	b.WriteString("complete -c smimea -f -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n")
	return b.String()
}
