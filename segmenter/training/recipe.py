"""The whole recipe from nothing to a model folder: pool, coarse network, fine network, manifest; one TOML per run."""

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.training.options import MAY_CHANGE, TrainOptions
from segmenter.training.pool import make_pool
from segmenter.training.train import Progress, Trainer, start_from
from segmenter.vnet.weights import choose_device, write_manifest

RUN = "run.toml"
NETWORKS = ("coarse", "fine")
OF_BOTH = ("seed", "device")  # what the run decides for both networks


@dataclass(frozen=True)
class Recipe:
    """What one run does; `seed` makes the patients and the crops. `load_recipe()` is the shipped one."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(min_length=1)]
    version: Annotated[str, Field(min_length=1)]
    seed: Annotated[int, Field(ge=0)]
    device: str
    patients: Annotated[int, Field(ge=2)]
    coarse_patients: Annotated[int, Field(ge=2)]  # the first of the pool that the coarse network sees
    coarse: TrainOptions
    fine: TrainOptions


def load_recipe(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe of a TOML file; what it leaves out is as in the shipped run. `overrides`, nested alike, win.

    Raises SegmenterError(MODEL) with all faults at once, a line for each: key, value, rule.
    """
    content = _read(Path(str(resources.files("segmenter"))) / "data" / "recipes" / "shipped.toml")
    for layer in (_read(path) if path else {}, overrides or {}):
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(content.get(key), dict)
            content[key] = {**content[key], **value} if both else value
    faults = []
    for table in NETWORKS:
        if isinstance(content[table], dict):
            taken = [key for key in ("stage", *OF_BOTH) if key in content[table]]
            faults += [f"{table}.{key} = {content[table][key]!r}: the run decides this, not a table" for key in taken]
            content[table] |= {"stage": table, **{key: content[key] for key in OF_BOTH}}
    try:
        recipe = TypeAdapter(Recipe).validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        faults += [_fault(dict(e)) for e in error.errors() if e["loc"][1:] not in {(key,) for key in OF_BOTH}]
    if faults:
        raise _error("\n".join([f"{path or 'the recipe'}: {len(faults)} settings cannot be used", *faults]))
    return recipe


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write all settings of a run as TOML, so that `load_recipe` reads the same recipe again."""
    content = asdict(recipe)
    tables = {table: content.pop(table) for table in NETWORKS}
    lines = ["# The settings of this run. For investigational use.", *_lines(content)]
    for table, settings in tables.items():
        own = {key: value for key, value in settings.items() if key not in ("stage", *OF_BOTH)}
        lines += ["", f"[{table}]", *_lines(own)]
    path.write_text("\n".join(lines) + "\n")


def train_model(
    recipe: Recipe,
    out: Path,
    workers: int,
    on_patient: Callable[[int], None] = lambda _: None,
    on_step: Callable[[str, Progress], None] = lambda *_: None,
) -> Path:
    """Make a model folder below `out` and return it; what an interrupted run left there is taken up."""
    choose_device(recipe.device)
    for options in (recipe.coarse, recipe.fine):
        if options.init is not None:
            start_from(options)
    if (out / RUN).exists():
        _refuse_another(load_recipe(out / RUN), recipe, out)
    out.mkdir(parents=True, exist_ok=True)
    write_recipe(recipe, out / RUN)
    patients = make_pool(out / "pool", recipe.patients, recipe.seed, workers, on_patient)
    model = out / "model"
    model.mkdir(exist_ok=True)
    for options, seen in ((recipe.coarse, patients[: recipe.coarse_patients]), (recipe.fine, patients)):
        held_out = max(1, len(seen) // 10)
        trainer = Trainer(options, seen[held_out:], seen[:held_out], out / options.stage)
        weights = trainer.run(lambda progress, stage=options.stage: on_step(stage, progress))  # type: ignore[misc]
        (model / weights.name).write_bytes(weights.read_bytes())
    write_manifest(model, recipe.name, recipe.version)
    return model


def _refuse_another(before: Recipe, now: Recipe, out: Path) -> None:
    """Raise SegmenterError(MODEL) when a folder's run was another one; see `MAY_CHANGE`."""
    free = MAY_CHANGE | {"name", "version"}
    old, new = _flat(asdict(before), free), _flat(asdict(now), free)
    if other := [f"{key} {value!r}, now {new[key]!r}" for key, value in old.items() if value != new[key]]:
        raise _error(f"{out} holds a run with other settings ({'; '.join(other)}): choose another folder")


def _flat(settings: Mapping[str, Any], free: set[str], table: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            found |= _flat(value, free, f"{key}.")
        elif key not in free:
            found[table + key] = value
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _error(f"{path} cannot be read as TOML: {error}") from None


def _lines(settings: Mapping[str, Any]) -> list[str]:
    """Return `key = value` lines; TOML writes strings, numbers and lists of them as JSON does, and has no null."""
    return [f"{key} = {json.dumps(value, default=str)}" for key, value in settings.items() if value is not None]


def _fault(error: dict[str, Any]) -> str:
    """Return `key = value: rule` for one of pydantic's errors."""
    unknown = error["type"] == "unexpected_keyword_argument"
    rule = "there is no such setting" if unknown else error["msg"].removeprefix("Value error, ").replace("Input", "it")
    key, value = ".".join(str(part) for part in error["loc"]), error["input"]
    return f"{key}: {rule}" if isinstance(value, dict) else f"{key} = {value!r}: {rule}"


def _error(message: str) -> SegmenterError:
    return SegmenterError(Reason.MODEL, message, Verdict.FAILED)
