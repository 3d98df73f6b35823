"""`eventvm completion`: what makes a shell complete verbs, options, and names out of the log."""

import argparse
import shlex
import sys
from collections.abc import Iterator
from typing import Any

from msgspec import json

from eventvm.cli import candidates
from eventvm.cli.paper import Paper
from eventvm.lifecycles import LIFECYCLES

BASH = """\
# Completion of eventvm for bash: source it, or save it as ~/.local/share/bash-completion/completions/eventvm
_eventvm_table={table}
_eventvm() {{
    local IFS=$'\\n' found last=${{COMP_WORDS[COMP_CWORD]}}
    found=$({program} "${{COMP_WORDS[@]:1:COMP_CWORD}}" <<<"$_eventvm_table" 2>/dev/null | cut -f1)
    [[ $last == = || ${{COMP_WORDS[COMP_CWORD-1]}} == = ]] && found=$(sed 's/^[^=]*=//' <<<"$found")
    COMPREPLY=($found)
}}
complete -o bashdefault -o default -F _eventvm eventvm
"""
ZSH = """\
# Completion of eventvm for zsh: source it in ~/.zshrc, after compinit
_eventvm_table={table}
_eventvm() {{
    local -a found
    found=("${{(@f)$({program} "${{(@)words[2,CURRENT]}}" <<<"$_eventvm_table" 2>/dev/null)}}")
    [[ -n $found[1] ]] || {{ _files; return }}
    found=("${{(@)found//:/\\\\:}}")
    found=("${{(@)found//$'\\t'/:}}")
    _describe -t words eventvm found
}}
compdef _eventvm eventvm
"""
FISH = """\
# Completion of eventvm for fish: source it, or save it as ~/.config/fish/completions/eventvm.fish
set -g _eventvm_table {table}
function __eventvm_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found (echo -n $_eventvm_table | {program} $words[2..-1] 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c eventvm -f -a '(__eventvm_complete)'
"""
SHELLS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
FILES = ("FILE", "SRC", "DST", "URL", "COMMAND")


def describe(verbs: Any) -> None:
    """Describe the verb and its options."""
    verb = verbs.add_parser(
        "completion",
        help="print what makes a shell complete verbs, options and names",
        description="Names of machines, lifecycles and phases come from the log that the line means.",
        epilog="example: eventvm completion bash > ~/.local/share/bash-completion/completions/eventvm",
    )
    verb.add_argument("shell", choices=list(SHELLS), help="which shell")
    verb.set_defaults(run=lambda options, paper: printed(paper, options), table=lambda: table(verbs))


async def printed(paper: Paper, options: argparse.Namespace) -> int:
    """Print the script for a shell."""
    known = json.encode(options.table()).decode()
    program = shlex.join([sys.executable, "-I", "-S", candidates.__file__])
    paper.text(SHELLS[options.shell].format(table=_quoted(known, options.shell), program=program))
    return 0


def _quoted(text: str, shell: str) -> str:
    """Quote for a shell; fish escapes within quotation marks."""
    if shell == "fish":
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return shlex.quote(text)


# --- the table ------------------------------------------------------------------------------------------


def table(verbs: Any) -> candidates.Table:
    """Write down what each verb takes, as its parser has it."""
    phases = {one.title(phase) for one in LIFECYCLES.values() for phase in one.phases}
    top = {"verbs": _verbs(verbs), "options": {"--help": ("", ""), "--version": ("", "")}, "takes": ""}
    found: candidates.Table = {"": {**top, "phase": sorted(phases), "lifecycle": sorted(LIFECYCLES)}}
    for name, parser in verbs.choices.items():
        found.update(_below(name, parser))
    return found


def _verbs(group: Any) -> dict[str, str]:
    # argparse keeps a verb's line of help nowhere else
    return {one.dest: one.help or "" for one in group._choices_actions}  # noqa: SLF001


def _below(path: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, Any]]:
    verbs: dict[str, str] = {}
    takes: str | list[str] = ""
    options: dict[str, Any] = {}
    for action in parser._actions:  # noqa: SLF001  # argparse has no other list of them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            verbs = _verbs(action)
            for name, below in action.choices.items():
                yield from _below(f"{path} {name}", below)
        elif not action.option_strings:
            takes = takes or _kind(path, action)
        else:
            kind = "" if action.nargs == 0 else _kind(path, action) or "file"
            options.update(dict.fromkeys(action.option_strings, (action.help or "", kind)))
    yield path, {"verbs": verbs, "takes": takes, "options": options}


def _kind(path: str, action: argparse.Action) -> str | list[str]:
    """Say what kind of word an option or an argument takes."""
    name = action.option_strings[-1] if action.option_strings else action.dest
    if action.choices is not None:
        return list(action.choices)
    if action.metavar in FILES:
        return "file"
    if name in ("--phase", "--doomed"):
        return "phase"
    if name == "--lifecycle" or (path.startswith("lifecycle") and name == "name"):
        return "lifecycle"
    return "machine" if name in ("name", "names", "--machine") else ""
