"""Components: everything that can be chosen by name, each one class in one file that owns its options.

A component is a frozen pydantic model. Its fields are its options, each with bounds and a description, and its
registered name is what a config says. From the fields alone come the validation, the error message,
``pbt-disent options``, the reference page, and a component's part in the identity of a generation.

    @EXPLOITS.register("truncation")
    class Truncation(Exploit):
        \"\"\"Replace the worst members by copies of the best ones.\"\"\"

        cutoff: float = Field(0.2, ge=0, le=0.5, description="The share of the members that is replaced.")

Where a component cannot be a pydantic model itself, as an objective, which is a `torch.nn.Module`, its class has a
nested class ``Options`` that is one.

Entries of a registry are found in the modules of its package, and in the modules that installed distributions name as
entry points of the group ``pbt_disent.components``. Both are imported at the first look-up.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, ClassVar, Generic, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_serializer, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticUndefined, core_schema

from pbt_disent.errors import UserError, nearest

__all__ = ["ENTRY_POINTS", "KINDS", "Choice", "Component", "OptionError", "Registry", "components", "first_mistake"]

T = TypeVar("T")

ENTRY_POINTS = "pbt_disent.components"
"""The group of entry points in which a distribution names modules that register components."""

KINDS = {
    "objective": "pbt_disent.models.contract:OBJECTIVES",
    "network": "pbt_disent.models.networks:NETWORKS",
    "likelihood": "pbt_disent.models.likelihoods:LIKELIHOODS",
    "schedule": "pbt_disent.training.schedules:SCHEDULES",
    "fitness": "pbt_disent.population.fitness:FITNESS",
    "exploit": "pbt_disent.population.exploit:EXPLOITS",
    "explore": "pbt_disent.population.explore:EXPLORES",
    "segmentation": "pbt_disent.rounds.segmentation:SEGMENTATIONS",
    "executor": "pbt_disent.population.executor:LAUNCHERS",
    "reader": "pbt_disent.data.readers:READERS",
    "world": "pbt_disent.data.worlds:WORLDS",
}
"""The kinds of components, and where the registry of each is found."""


class Registry(Generic[T]):
    """Named entries of one kind, filled from the modules of a package and from entry points.

    Args:
        kind: The name of the kind in messages, such as ``objective``.
        packages: The dotted names of the packages whose modules register the entries, or of single modules.
    """

    def __init__(self, kind: str, *packages: str) -> None:
        self.kind = kind
        self._packages = packages
        self._entries: dict[str, T] = {}
        self._filled = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that enters an object under a name.

        Raises:
            KeyError: The name is taken already.
        """

        def enter(entry: T) -> T:
            if name in self._entries:
                raise KeyError(f"{self.kind} {name!r} is registered twice")
            options = options_class(entry)
            if options is not None:
                options.name = name
            self._entries[name] = entry
            return entry

        return enter

    def __getitem__(self, name: str) -> T:
        """Return the entry with this name.

        Raises:
            UserError: No entry has that name; the message gives the nearest and all known ones.
        """
        self._fill()
        if name not in self._entries:
            raise UserError(f"{self.kind} {name!r}", f"is no known {self.kind}", nearest(name, self._entries))
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._fill()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in alphabetical order."""
        self._fill()
        return iter(sorted(self._entries))

    def options(self, name: str) -> type[Component]:
        """Return the options class of the component with this name.

        Raises:
            UserError: There is no such component.
        """
        options = options_class(self[name])
        assert options is not None, f"{self.kind} {name} is no component"
        return options

    def _fill(self) -> None:
        if self._filled:
            return
        self._filled = True  # a module may look up others while it is imported
        try:
            for name in self._packages:
                package = importlib.import_module(name)
                for module in pkgutil.iter_modules(getattr(package, "__path__", [])):
                    importlib.import_module(f"{name}.{module.name}")
            load_plugins()
        except BaseException:
            self._filled = False
            raise


def options_class(entry: object) -> type[Component] | None:
    """Return the class that holds the options of a registered class: itself or its ``Options``, or None."""
    options = entry if isinstance(entry, type) and issubclass(entry, Component) else getattr(entry, "Options", None)
    return options if isinstance(options, type) and issubclass(options, Component) else None


def load_plugins() -> None:
    """Import the modules that installed distributions name as entry points of `ENTRY_POINTS`.

    Raises:
        UserError: One of them cannot be imported.
    """
    for plugin in entry_points(group=ENTRY_POINTS):
        try:
            plugin.load()
        except Exception as error:
            reason = f"cannot be imported ({type(error).__name__}: {error})"
            raise UserError(f"plug-in {plugin.value}", reason, "repair or uninstall it") from error


def components(kind: str) -> Registry[Any]:
    """Return the registry of a kind of components.

    >>> "rooms" in components("world")
    True

    Raises:
        UserError: There is no such kind.
    """
    if kind not in KINDS:
        raise UserError(f"kind {kind!r}", "is no kind of component", nearest(kind, KINDS))
    module, _, attribute = KINDS[kind].partition(":")
    registry: Registry[Any] = getattr(importlib.import_module(module), attribute)
    return registry


class OptionError(ValueError):
    """A mistake in an option, and where in the config it was made.

    Args:
        location: The keys that lead to the option, from the model that was validated.
        rule: The rule that the value breaks.
        remedy: The remedy.
        value: The value of the option. Without it the key itself is the mistake.
    """

    def __init__(self, location: tuple[str, ...], rule: str, remedy: str, value: object = PydanticUndefined) -> None:
        super().__init__(f"{'.'.join(location)}: {rule}; {remedy}")
        self.location, self.rule, self.remedy, self.value = location, rule, remedy, value

    def within(self, *outer: str) -> OptionError:
        """Return the same mistake with the keys that lead to the validated model."""
        return OptionError((*outer, *self.location), self.rule, self.remedy, self.value)

    def to_user_error(self) -> UserError:
        """Return the mistake as a message in one line."""
        name = ".".join(self.location)
        if not name:
            subject, _, rule = self.rule.partition(" ")
            return UserError(subject, rule, self.remedy)
        subject = f"key {name!r}" if self.value is PydanticUndefined else f"{name}={_shown(self.value)}"
        return UserError(subject, self.rule, self.remedy)


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)


class Component(BaseModel):
    """Base of all components: frozen, closed to unknown options, strict about types.

    A list of YAML becomes a tuple where the option is declared with ``Field(strict=False)``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    name: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _without_name(cls, values: Any) -> Any:
        """Accept what `model_dump` returned, in which the name comes first."""
        if isinstance(values, dict) and values.get("name") == cls.name:
            return {key: value for key, value in values.items() if key != "name"}
        return values

    @model_serializer(mode="wrap")
    def _with_name(self, handler: Callable[[Self], dict[str, Any]]) -> dict[str, Any]:
        return {"name": self.name, **handler(self)}

    def dump(self) -> dict[str, Any]:
        """Return the name and all options as plain values, for YAML, JSON and the identity of a generation."""
        return self.model_dump(mode="json")


@dataclass(frozen=True)
class Choice:
    """Marks a config field that holds a component: ``exploit: Annotated[Any, Choice("exploit", "truncation")]``.

    The field accepts a component, its name, or a mapping of its name and options; without a name the options are those
    of the default.

    Args:
        kind: One of `KINDS`.
        default: The name of the component where only options are given.
        optional: Whether the field may be None.
    """

    kind: str
    default: str
    optional: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """Tell pydantic how to validate and serialise the field."""
        return core_schema.no_info_plain_validator_function(
            self.validate, serialization=core_schema.plain_serializer_function_ser_schema(_dump)
        )

    def validate(self, value: object) -> Component | None:
        """Return the component that a value of the config stands for.

        Raises:
            OptionError: The value is no component of this kind.
        """
        if isinstance(value, Component) or (value is None and self.optional):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, dict):
            raise OptionError((), f"must be the name of one {self.kind}, or a mapping", self._suggest(""), value)
        name = value.get("name", self.default)
        if not isinstance(name, str):
            raise OptionError(("name",), "input should be a valid string", self._suggest(""), name)
        if name not in components(self.kind):
            raise OptionError((), f"is no known {self.kind}", self._suggest(name), name)
        options = components(self.kind).options(name)
        try:
            return options.model_validate({key: option for key, option in value.items() if key != "name"})
        except ValidationError as error:
            raise first_mistake(error, options) from None

    def _suggest(self, name: str) -> str:
        return nearest(name, components(self.kind))


def _dump(component: Component | None) -> dict[str, Any] | None:
    return None if component is None else component.dump()


def first_mistake(error: ValidationError, model: type[BaseModel]) -> OptionError:
    """Return the first mistake that pydantic found, in the words of this package.

    Args:
        error: The error that pydantic raised.
        model: The model that was validated.
    """
    first = error.errors(include_url=False)[0]
    location = tuple(str(part) for part in first["loc"])
    raised = first.get("ctx", {}).get("error")
    if isinstance(raised, OptionError):
        return raised.within(*location)
    if first["type"] == "extra_forbidden":
        owner = _model_at(model, location[:-1])
        whose = f" to {owner.name}" if issubclass(owner, Component) else ""
        return OptionError(location, f"is unknown{whose}", nearest(location[-1], owner.model_fields))
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    remedy = "change it in the config or with --set"
    if not location:
        return OptionError((), message, remedy)
    owner = _model_at(model, location[:-1])
    field = owner.model_fields.get(location[-1])
    if issubclass(owner, Component) and field is not None and not field.is_required():
        default = field.get_default(call_default_factory=True)
        remedy = "leave it out" if default is None else f"the default is {default}"
    return OptionError(location, _rule(first["type"], field, first["input"]) or message, remedy, first["input"])


def _rule(kind: str, field: FieldInfo | None, value: object) -> str | None:
    """Return what a value must be, where that is said better than by pydantic."""
    if field is None:
        return None
    bounds = {
        key: getattr(mark, key) for mark in field.metadata for key in ("ge", "gt", "le", "lt") if hasattr(mark, key)
    }
    is_out_of_range = kind in {"greater_than_equal", "less_than_equal", "int_type", "float_type"}
    if is_out_of_range and {"ge", "le"} <= bounds.keys():
        number = "a whole number " if kind == "int_type" and isinstance(value, float) else ""
        return f"must be {number}in {bounds['ge']:g} to {bounds['le']:g}"
    return None


def _model_at(model: type[BaseModel], location: tuple[str, ...]) -> type[BaseModel]:
    """Return the model whose fields are the keys at a location in the tree."""
    for part in location:
        field = model.model_fields.get(part)
        annotation = field.annotation if field else None
        sections = [kind for kind in (annotation, *get_args(annotation)) if _is_model(kind)]
        if not sections:
            return model
        model = sections[0]
    return model


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
