"""The configuration of a run: frozen dataclasses, read from and written to TOML.

Nothing heavy is imported here, so that the command line stays fast. The names of the methods are
therefore repeated from the ``METHODS`` registries of ``numerics``.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from dataclasses import field as _field
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from qsm_pipeline.exceptions import ConfigError

Device = Literal["auto", "cpu", "cuda"]
MaskMethod = Literal["brain", "magnitude"]
UnwrapMethod = Literal["romeo", "romeo-individual", "laplacian", "best-path"]
FieldFitMethod = Literal["weighted", "nonlinear"]
Bipolar = Literal["auto", "yes", "no"]
BackgroundMethod = Literal["lbv-pdf", "vsharp", "sharp", "resharp", "ismv", "pdf", "lbv"]
InversionMethod = Literal["tkd", "tikhonov", "tv"]
ReferenceRegion = Literal["brain", "csf", "none"]

Params = dict[str, Any]


def _key(help_: str, default: Any = None, *, at_least: float | None = None) -> Any:
    """Return a field with its help text and lower bound."""
    metadata = {"help": help_, "at_least": at_least}
    if isinstance(default, dict):
        return _field(default_factory=dict, metadata=metadata)
    return _field(default=default, metadata=metadata)


@dataclass(frozen=True)
class BidsConfig:
    """What is read."""

    dir: Path | None = _key("Raw BIDS data set.")
    participant_label: tuple[str, ...] = _key(
        "Participants to process, with or without sub-; all if not given.", ()
    )
    session_label: tuple[str, ...] = _key(
        "Sessions to process, with or without ses-; all if not given.", ()
    )
    filter_file: Path | None = _key(
        'JSON that selects runs by entities: {"gre": {"acquisition": "qsm"}}.'
    )
    database_dir: Path | None = _key("Folder of the pybids index, made if it does not exist.")
    skip_validation: bool = _key("Do not run the BIDS validator first.", False)
    derivatives: tuple[Path, ...] = _key("Derivatives folders to look for masks in.", ())


@dataclass(frozen=True)
class ExecutionConfig:
    """How it is run; nothing here alters a map."""

    work_dir: Path = _key(
        "Folder for intermediate results; a second run resumes there.", Path("work")
    )
    nprocs: int | None = _key(
        "Cores to use; as many as this process is allowed to if not given.", at_least=1
    )
    omp_nthreads: int | None = _key("Cores that one step may use.", at_least=1)
    mem_gb: float | None = _key(
        "Memory to use in GB; 90 % of what is free for this process if not given.", at_least=0.1
    )
    nipype_plugin_file: Path | None = _key(
        "YAML or TOML file with a nipype plugin and its plugin_args."
    )
    device: Device = _key("Where tensors are computed.", "auto")
    stop_on_first_crash: bool = _key("End the run at the first step that fails.", False)
    write_graph: bool = _key("Write the workflow graph to the logs folder.", False)
    dry_run: bool = _key("List what would run, and why the rest is skipped, and end.", False)
    reports_only: bool = _key("Make the reports again from results that are already there.", False)
    verbosity: int = _key("Details of the log: -1 warnings, 0 steps, 1 nipype, 2 debug.", 0)


@dataclass(frozen=True)
class MaskingConfig:
    """Which voxels are processed."""

    method: MaskMethod = _key("How the mask is made where the user gives none.", "brain")
    pattern: str = _key(
        "Path of your own masks with placeholders {sub}, {ses}, {prefix} and wildcards.", ""
    )
    refine: bool = _key("Take voxels with unreliable phase out of the mask.", True)
    two_pass: bool = _key(
        "Invert twice, on the reliable voxels and on the filled mask, and combine.", False
    )


@dataclass(frozen=True)
class FieldConfig:
    """From wrapped phase to the total field."""

    unwrap: UnwrapMethod = _key("Phase unwrapping.", "romeo")
    unwrap_params: Params = _key("Parameters of the unwrapping.", {})
    fit: FieldFitMethod = _key("Fit of the field over the echoes.", "weighted")
    remove_offset: bool = _key("Remove the phase at echo time zero (MCPC-3D-S).", True)
    offset_params: Params = _key("Parameters of the removal of the phase offset.", {})
    bipolar: Bipolar = _key("Remove the difference of odd and even echoes.", "auto")


@dataclass(frozen=True)
class BackgroundConfig:
    """From the total to the local field."""

    method: BackgroundMethod = _key("Background field removal.", "lbv-pdf")
    params: Params = _key("Parameters of the method.", {})


@dataclass(frozen=True)
class InversionConfig:
    """From the local field to susceptibility."""

    method: InversionMethod = _key("Dipole inversion.", "tv")
    params: Params = _key("Parameters of the method.", {})
    reference: ReferenceRegion = _key("Region whose mean susceptibility is set to zero.", "brain")


@dataclass(frozen=True)
class OutputsConfig:
    """What is written."""

    dir: Path | None = _key("Derivatives folder.")
    fields: bool = _key("Write the total and the local field.", True)
    relaxation: bool = _key("Write R2*, T2* and S0.", True)
    report: bool = _key("Write an HTML report for each participant.", True)


_PARAMS = {
    ("field", "unwrap_params"): ("qsm_pipeline.numerics.unwrap", "unwrap"),
    ("field", "offset_params"): ("qsm_pipeline.numerics.phase_offset", "PhaseOffsetParams"),
    ("background", "params"): ("qsm_pipeline.numerics.background", "method"),
    ("inversion", "params"): ("qsm_pipeline.numerics.inversion", "method"),
}
_PARAMS_OF = {(section, method): params for (section, params), (_, method) in _PARAMS.items()}
_ALTERS_MAPS = ("masking", "field", "background", "inversion")


@dataclass(frozen=True)
class RunConfig:
    """Everything that a user can set, one section for each part."""

    bids: BidsConfig = _field(default_factory=BidsConfig)
    execution: ExecutionConfig = _field(default_factory=ExecutionConfig)
    masking: MaskingConfig = _field(default_factory=MaskingConfig)
    field: FieldConfig = _field(default_factory=FieldConfig)
    background: BackgroundConfig = _field(default_factory=BackgroundConfig)
    inversion: InversionConfig = _field(default_factory=InversionConfig)
    outputs: OutputsConfig = _field(default_factory=OutputsConfig)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "configuration") -> RunConfig:
        """Build from plain tables; what is left out keeps its default.

        Parameters
        ----------
        data : mapping
            Section to mapping of key to value.
        where : str
            What to name in an error.

        Raises
        ------
        ConfigError
            If a section or key is unknown, or a value has the wrong type or is out of range.
        """
        sections = get_type_hints(cls)
        built = {}
        for name, table in data.items():
            if name not in sections:
                raise _unknown(where, "section", name, sections)
            if not isinstance(table, Mapping):
                raise ConfigError(f"{where}: {name} is {table!r}, expected a table [{name}]")
            built[name] = _section(sections[name], name, table, where)
        return cls(**built)

    @classmethod
    def load(cls, path: Path | None, overrides: Mapping[str, Any] | None = None) -> RunConfig:
        """Read a TOML file and put the command line's values over it.

        Parameters
        ----------
        path : pathlib.Path, optional
            Relative paths in it start at its own folder. Defaults if not given.
        overrides : mapping, optional
            Dotted keys to values: ``{"background.method": "pdf"}``.

        Raises
        ------
        ConfigError
            If the file cannot be read, or as in `from_dict`.
        """
        config = cls()
        if path is not None:
            try:
                data = tomllib.loads(path.read_text(encoding="utf-8"))
            except OSError as err:
                raise ConfigError(f"{path} cannot be read: {err.strerror}") from err
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
                raise ConfigError(f"{path} is not TOML: {err}") from err
            config = _anchored(cls.from_dict(data, str(path)), path.absolute().parent)
        return config.with_values(overrides or {})

    def with_values(self, values: Mapping[str, Any], where: str = "command line") -> RunConfig:
        """Return a copy in which dotted keys have new values, checked as in `from_dict`.

        A key below a table of parameters (``inversion.params.tolerance``) sets only that one. A
        new method drops the parameters that were meant for the old one.
        """
        data = {f.name: _given(getattr(self, f.name)) for f in fields(self)}
        for dotted, value in sorted(values.items(), key=lambda item: item[0].count(".")):
            section, _, key = dotted.partition(".")
            key, _, parameter = key.partition(".")
            table = data.get(section)
            if table is None:
                raise _unknown(where, "section", section, data)
            if parameter:
                if (section, key) not in _PARAMS:
                    raise ConfigError(f"{where}: {section}.{key} has no parameters: {dotted}")
                table[key] = {**table[key], parameter: value}
                continue
            params = _PARAMS_OF.get((section, key))
            if params and value != table[key]:
                table[params] = {}
            table[key] = value
        return self.from_dict(data, where)

    def check_params(self) -> RunConfig:
        """Return a copy in which every method's parameters are complete and checked.

        This imports the numerics.

        Raises
        ------
        ConfigError
            If a parameter is unknown, of the wrong type or out of its bounds.
        """
        checked = self
        for section, key in _PARAMS:
            table = getattr(checked, section)
            params = asdict(_build_params(section, key, table))
            checked = replace(checked, **{section: replace(table, **{key: params})})
        return checked

    def map_hash(self) -> str:
        """Return 12 hex digits that change with any setting that alters a map.

        Parameters count with their defaults, so that writing a default out changes nothing and a
        new default of the software does.
        """
        checked = self.check_params()
        tables = {name: asdict(getattr(checked, name)) for name in _ALTERS_MAPS}
        text = json.dumps(tables, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return plain tables without the keys that are not set."""
        return {f.name: _text(_given(getattr(self, f.name))) for f in fields(self)}

    def to_toml(self) -> str:
        """Return the whole configuration as TOML that `load` reads back."""
        return _dump(self.to_dict())


def _section(type_: type, name: str, table: Mapping[str, Any], where: str) -> Any:
    hints = get_type_hints(type_)
    known = {f.name: f for f in fields(type_)}
    values = {}
    for key, value in table.items():
        if key not in known:
            raise _unknown(where, "key", key, known, name)
        converted = _convert(value, hints[key], f"{where}: {name}.{key}")
        bound = known[key].metadata["at_least"]
        if bound is not None and converted is not None and converted < bound:
            raise ConfigError(f"{where}: {name}.{key} is {value!r}, expected at least {bound}")
        values[key] = converted
    return type_(**values)


def _unknown(where: str, kind: str, name: str, known: Any, section: str = "") -> ConfigError:
    inside = f" in [{section}]" if section else ""
    return ConfigError(f"{where}: unknown {kind} {name!r}{inside}, expected: {', '.join(known)}")


def _convert(value: Any, hint: Any, name: str) -> Any:
    """Return a value of the type that a field is declared with."""
    if isinstance(hint, UnionType):
        return None if value is None else _convert(value, get_args(hint)[0], name)
    origin = get_origin(hint)
    if origin is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{name} is {value!r}, expected one of {', '.join(get_args(hint))}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{name} is {value!r}, expected a list")
        return tuple(_convert(item, get_args(hint)[0], name) for item in value)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{name} is {value!r}, expected a table of parameters")
        return dict(value)
    if hint is Path and isinstance(value, str | Path) and str(value):
        return Path(value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isnan(value):
            raise ConfigError(f"{name} is not a number")
        return float(value)
    if type(value) is hint and hint is not Path:
        return value
    words = {Path: "a path", float: "a number", int: "a whole number", bool: "true or false"}
    raise ConfigError(f"{name} is {value!r}, expected {words.get(hint, 'a text')}")


def _anchored(config: RunConfig, folder: Path) -> RunConfig:
    """Return a copy in which the relative paths that were given start at a folder."""
    default = RunConfig()
    for section in fields(config):
        table = getattr(config, section.name)
        changed: dict[str, Any] = {}
        for key, value in _given(table).items():
            if value == getattr(getattr(default, section.name), key):
                continue
            if isinstance(value, Path):
                changed[key] = folder / value
            elif isinstance(value, tuple):
                changed[key] = tuple(folder / v if isinstance(v, Path) else v for v in value)
        config = replace(config, **{section.name: replace(table, **changed)})
    return config


def _build_params(section: str, key: str, table: Any) -> Any:
    """Return the parameters of the method that a section names."""
    module_name, selector = _PARAMS[section, key]
    module = importlib.import_module(module_name)
    method = getattr(table, selector, None)
    type_ = module.METHODS[method].params if method else getattr(module, selector)
    hints = get_type_hints(type_)
    name = f"{section}.{key}"
    given = getattr(table, key)
    for parameter in given:
        if parameter not in hints:
            known = ", ".join(hints) or "none"
            of = f" of {method}" if method else ""
            raise ConfigError(f"{name}: unknown parameter {parameter!r}{of}, expected: {known}")
    values = {p: _convert(v, hints[p], f"{name}.{p}") for p, v in given.items()}
    try:
        return type_(**values)
    except ValueError as err:
        raise ConfigError(f"{name}: {err}") from err


def _given(table: Any) -> dict[str, Any]:
    return {f.name: getattr(table, f.name) for f in fields(table)}


def _text(value: Any) -> Any:
    """Return paths as text and tuples as lists, without what is not set."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_text(item) for item in value]
    if isinstance(value, Mapping):
        return {k: _text(v) for k, v in value.items() if v is not None}
    return value


def _dump(tables: Mapping[str, Any], prefix: str = "") -> str:
    """Return TOML; plain values come before the tables below them."""
    text = ""
    for name, table in tables.items():
        plain = {k: v for k, v in table.items() if not isinstance(v, Mapping)}
        nested = {k: v for k, v in table.items() if isinstance(v, Mapping) and v}
        lines = [f"{key} = {_dump_value(value)}\n" for key, value in plain.items()]
        text += f"[{prefix}{name}]\n{''.join(lines)}\n" + _dump(nested, f"{prefix}{name}.")
    return text


def _dump_value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_dump_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    # A JSON string is a TOML basic string but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
