"""The reference pages say what the code says: every setting, every command, every option, in the same words."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from maskline.carriers.kinds import KINDS
from maskline.cli import main, play_demo, serve
from maskline.cli_numbers import add_number
from maskline.settings import sentences

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"


def table_rows(text: str) -> list[str]:
    """The rows of all tables, without their headings."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [line for i, line in enumerate(lines) if not is_rule(line) and not is_rule(lines[i + 1 : i + 2])]


def is_rule(line: str | list[str]) -> bool:
    return bool(line) and set("".join(line)) <= set("|-")


def row(*cells: str) -> str:
    return "|" + "|".join(f" {cell} " for cell in cells) + "|"


def default_text(default: Any) -> str:
    if default is None:
        return "none"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def test_every_setting_is_documented() -> None:
    flags = {option.name: f"`{option.opts[0]}`" for option in serve.params}
    assert table_rows((REFERENCE / "settings.md").read_text()) == [
        row(f"`{name}`", f"`MASKLINE_{name.upper()}`", flags.get(name, ""), default_text(default), sentence)
        for name, default, sentence in sentences()
    ]


def test_every_kind_of_carrier_has_a_page_that_is_found() -> None:
    carriers = ROOT / "docs" / "carriers"
    index = (carriers / "index.md").read_text()
    for kind in KINDS:
        assert f"]({kind}.md)" in index
        assert f'kind = "{kind}"' in (carriers / f"{kind}.md").read_text()


def commands(group: click.Group, path: str = "maskline") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(commands(main))


def sections() -> dict[str, str]:
    """The page's sections, by heading."""
    parts = (REFERENCE / "command-line.md").read_text().split("\n## ")[1:]
    return {heading.strip("`"): text for heading, _, text in (part.partition("\n") for part in parts)}


COMMON = ("--data", "--config", "--json")


def options(command: click.Command) -> list[click.Option]:
    return [option for option in command.params if isinstance(option, click.Option)]


def option_text(option: click.Option) -> str:
    return f"{option.opts[0]}{value_text(option)}"


def usage(name: str, command: click.Command) -> str:
    arguments = [
        argument.human_readable_name if argument.required else f"[{argument.human_readable_name}]"
        for argument in command.params
        if isinstance(argument, click.Argument)
    ]
    return " ".join([name, *arguments, *(f"[{option_text(option)}]" for option in options(command))])


def option_rows(command: click.Command) -> list[str]:
    """What is said of the options that are this command's own."""
    own = (
        option for option in options(command) if option.opts[0] not in COMMON or command in {serve, play_demo}
    )
    return [row(f"`{option_text(option)}`".replace("|", "\\|"), option.help or "") for option in own]


def value_text(option: click.Option) -> str:
    if option.is_flag:
        return ""
    kind = option.type
    if isinstance(kind, click.Choice):
        return " " + "|".join(map(str, kind.choices))
    return f" {option.metavar or ('N' if isinstance(kind, click.IntRange) else 'TEXT')}"


def test_no_command_is_forgotten_and_none_invented() -> None:
    assert list(sections()) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_documented_with_all_its_options(name: str) -> None:
    text = sections()[name]
    command = COMMANDS[name]
    assert (command.help or "") in text
    assert f"```\n{usage(name, command)}\n```" in text.replace(" \\\n    ", " ")
    assert table_rows(text) == option_rows(command)


def test_the_common_options_are_documented() -> None:
    text = (REFERENCE / "command-line.md").read_text().partition("\n## ")[0]
    common = [option for option in options(add_number) if option.opts[0] in COMMON]
    assert table_rows(text)[: len(common)] == [
        row(f"`{option_text(option)}`", option.help or "") for option in common
    ]
