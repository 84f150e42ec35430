"""The settings of one training run."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from segmenter.vnet.coarse import CoarseClass
from segmenter.vnet.network import VNetConfig

Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]

CLASSES = {"coarse": len(CoarseClass), "fine": 2}
MAY_CHANGE = {"steps", "init", "save_every", "device", "loaders"}  # between a run's start and its being taken up again


@dataclass(frozen=True)
class TrainOptions:
    """Settings of one run; together with the pool they determine the weights on one kind of machine.

    `width` to `dropout` are those of `VNetConfig`; raises ValueError when they do not fit each other.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    stage: Literal["coarse", "fine"]
    steps: Count
    seed: Annotated[int, Field(ge=0)] = 1
    batch: Count = 2
    width: Count = 16
    convs: tuple[Count, ...] = (1, 2, 2, 2)
    kernel: Count = 3
    convs_up: tuple[Count, ...] = ()
    wide_up: bool = False
    sum_first: bool = False
    normalised: bool = True
    dropout: float = 0.0
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 2e-3
    dice: Weight = 1.0
    ce: Weight = 0.0
    l2: Weight = 1e-5
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999  # how much of the average stays at each step; 0: no averaging
    warm_up: Annotated[int, Field(ge=0)] = 50
    freeze_norm_after: Weight = 0.6  # then the statistics stay as they will be in use: a batch of two is a poor sample
    init: Path | None = None  # weights to start from
    save_every: Count = 100
    device: str = "auto"
    loaders: Annotated[int, Field(ge=0)] = 1  # processes that prepare crops; 0 prepares them in between

    def __post_init__(self) -> None:
        self.network  # noqa: B018  raises ValueError for a network that cannot be built

    @property
    def network(self) -> VNetConfig:
        """The network that is trained, as `width` to `dropout` say."""
        shape = {field.name: getattr(self, field.name) for field in fields(VNetConfig) if field.name != "classes"}
        return VNetConfig(CLASSES[self.stage], **shape)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON holds them."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return content
