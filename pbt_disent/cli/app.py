"""The typer application: how a verb is added, and how bad input becomes one line and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from typer.core import TyperGroup

from pbt_disent import __version__
from pbt_disent.errors import STOPPED, PbtDisentError, UserError, nearest

__all__ = ["app", "entry", "group", "main", "verb"]

PROGRAM = "pbt-disent"
MISPLACED = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
"""The errors of a path that names a file where a folder belongs, or the other way round, or is too long."""

Verb = TypeVar("Verb", bound=Callable[..., Any])


class VerbGroup(TyperGroup):
    """A group of verbs that names the nearest one when a verb is unknown."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the verb that the arguments name.

        Raises:
            UserError: There is no such verb.
        """
        if args[0] not in self.commands and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise UserError(f"verb {args[0]!r}", f"is unknown to {ctx.command_path}", nearest(args[0], self.commands))
        return super().resolve_command(ctx, args)


def group(name: str, summary: str) -> typer.Typer:
    """Return a group of verbs.

    Args:
        name: The name of the group of verbs.
        summary: What its verbs do, in one sentence.
    """
    return typer.Typer(
        name=name,
        help=summary,
        cls=VerbGroup,
        no_args_is_help=True,
        rich_markup_mode=None,  # rich would double the time that help takes (0.16 to 0.36 s of CPU)
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )


app = group(PROGRAM, "Dependable disentangled representations by population-based training.")


def verb(*examples: str, name: str | None = None, within: typer.Typer = app) -> Callable[[Verb], Verb]:
    """Return a decorator that makes a function a verb of the command line.

    The parameters of the function are the arguments and options of the verb, its docstring is the help of the verb,
    and the first sentence of that stands in the list of verbs. The function returns the exit code; None means 0.

    Args:
        *examples: Command lines, without the name of the program, that the help of the verb shows.
        name: The name of the verb, where it is not that of the function.
        within: The application, or the group of verbs that the verb belongs to.
    """
    lines = "\n".join(f"  {PROGRAM} {example}" for example in examples)
    return within.command(name, epilog=f"\b\nExamples:\n{lines}\n")


def _print_version(value: bool) -> None:
    if value:
        print(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _describe(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Declare the options of the program itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The words after the name of the program; by default those that the process was started with.

    Returns:
        The exit code: 0 for success, 1 for a failure, 2 for bad input, 130 for a run that was stopped.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    words = None if arguments is None else list(arguments)
    try:
        code = typer.main.get_command(app).main(words, prog_name=PROGRAM, standalone_mode=False)
    except typer.TyperException as error:
        return _report_usage(error)
    except PbtDisentError as error:
        _say(str(error))
        return error.exit_code
    except OSError as error:
        return _report_os_error(error)
    if code == STOPPED:
        _say("stopped")
    return int(code or 0)


def entry() -> NoReturn:
    """Run the command line and exit.

    A run that was stopped has closed everything that it had opened; it exits without the seconds that the interpreter
    needs to unload torch, ray and mlflow.
    """
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if code == STOPPED:
        os._exit(code)
    sys.exit(code)


def _report_usage(error: typer.TyperException) -> int:
    """Report arguments that do not parse."""
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
        print(error.format_message(), file=sys.stderr)
    else:
        _say(str(_as_user_error(error)))
    return UserError.exit_code


def _as_user_error(error: Any) -> UserError:
    """Return what typer says of an argument or option as value, rule and remedy."""
    command = error.ctx.command_path if getattr(error, "ctx", None) else PROGRAM
    remedy = f"see: {command} --help"
    rule = " ".join(error.message.split()).rstrip(".")
    match type(error).__name__:  # typer exports these classes under no public name
        case "NoSuchOption":
            options = [name for parameter in error.ctx.command.get_params(error.ctx) for name in parameter.opts]
            known = [name for name in options if name.startswith("--")]
            return UserError(
                f"option {error.option_name}", f"is unknown to {command}", nearest(error.option_name, known)
            )
        case "BadOptionUsage":
            rule = rule.removeprefix(f"Option {error.option_name!r} ")
            return UserError(f"option {error.option_name}", rule, remedy)
        case "MissingParameter":
            name = error.param.metavar if error.param.param_type_name == "argument" else error.param.opts[0]
            return UserError(f"{error.param.param_type_name} {name}", "is missing", remedy)
        case "BadParameter":
            value = error.__cause__.errors()[0]["input"] if hasattr(error.__cause__, "errors") else ""
            rule = rule.replace("Input should be", "must be").partition(",")[0]
            return UserError(f"{error.param.opts[0]} {value}".rstrip(), rule, remedy)
        case _:
            return UserError(command, rule[:1].lower() + rule[1:], remedy)


def _report_os_error(error: OSError) -> int:
    """Report a path that does not fit or a disk that is full; anything else is a bug and keeps its traceback."""
    from pbt_disent.files import REMEDIES

    if error.errno in MISPLACED and error.filename:
        _say(f"{error.filename}: {error.strerror}; give another path")
        return UserError.exit_code
    if error.errno not in REMEDIES:
        raise error
    path = f"{error.filename}: " if error.filename else ""
    _say(f"{path}{error.strerror}; {REMEDIES[error.errno]}")
    return 1


def _say(message: str) -> None:
    print(f"{PROGRAM}: {message}", file=sys.stderr)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Let SIGTERM end the process as Ctrl-C does."""
    raise KeyboardInterrupt
