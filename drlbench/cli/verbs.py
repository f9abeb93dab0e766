"""How `drlbench --help` lists the verbs: in groups, in the order one uses them; a switch shows no type."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

GROUPS = {
    "Run a suite": ("run", "plan", "validate", "fetch", "status", "doctor"),
    "Read the results": ("report", "compare", "figures", "eval", "verify"),
    "Models": ("sample", "export", "bench"),
    "Make your own": ("new", "list", "schema", "cache"),
}


class Verbs(TyperGroup):
    """The root command."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Verbs of the groups first; one that is in none comes last, so that nothing is hidden."""
        told = [verb for verbs in GROUPS.values() for verb in verbs if verb in self.commands]
        return told + [verb for verb in self.commands if verb not in told]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb."""
        command: Any = super().get_command(ctx, cmd_name)
        if command is not None:
            _untyped(command.get_params(ctx))
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Every group under its name, each verb with its whole first sentence."""
        verbs = {verb: self.get_command(ctx, verb).get_short_help_str(limit=200) for verb in self.list_commands(ctx)}
        for group, members in {**GROUPS, "Others": tuple(verbs)}.items():
            if rows := [(verb, verbs.pop(verb)) for verb in members if verb in verbs]:
                with formatter.section(group):
                    formatter.write_dl(rows)

    def get_params(self, ctx: Any) -> Any:
        """The root's own options."""
        return _untyped(super().get_params(ctx))


def _untyped(params: Any) -> Any:
    for param in params:
        if getattr(param, "is_bool_flag", False) and param.metavar is None:
            param.metavar = ""  # `--json <bool>` reads as if it took a value
    return params
