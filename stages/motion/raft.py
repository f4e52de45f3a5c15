"""The stage `raft`: LVD-2M's motion score as it was made, by torchvision's RAFT at 520x960 and 2 fps.

Dear (some seconds a pair on a CPU core, a few hundredths on a GPU), so only clips that the cheap scores leave are
looked at. The stage `motion` has the same number from DIS for every clip.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import cv2
import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.media.frame import Frame
from curate.media.sampling import Sampler
from curate.media.video import Decode, Timing, lead_of
from curate.models import HUB, Model, WeightsError, device, load_into
from curate.stage import Failure, Row, RowStage, Workspace
from schemas import Table, motion
from stages.motion.flow import LVD_GAP_S, LVD_SIZE
from stages.motion.pairs import EPSILON_S

if TYPE_CHECKING:
    import torch

Size = Literal["small", "large"]

PUBLISHED = "https://download.pytorch.org/models/"
MODELS: Mapping[Size, Model] = {
    "small": Model("raft_small", "BSD-3-Clause", sha256="01064c6d", url=f"{PUBLISHED}raft_small_C_T_V2-01064c6d.pth"),
    "large": Model(
        "raft_large", "BSD-3-Clause", sha256="ff5fadd5", url=f"{PUBLISHED}raft_large_C_T_SKHT_V2-ff5fadd5.pth"
    ),
}
"""RAFT (Teed and Deng, arXiv:2003.12039) as torchvision trained it: its default weights of either size."""


class Pair(NamedTuple):
    """What a picture pair comes to; NaN where the network gave no finite flow."""

    mean_w_s: float
    lvd_px: float


class Raft(RowStage):
    """Scores clips by RAFT's flow between pictures half a second apart."""

    name: ClassVar[str] = "raft"
    writes: ClassVar[Table] = motion.RAFT
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clips": ("clip_id", "source_id", "start_pts", "end_pts", "start_s", "end_s", "long_enough"),
        "sources": ("path", "rotation", "time_base_num", "time_base_den", "start_pts", "split_pts"),
    }
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {"screening": ("clip_id", "kept")}
    opens_media: ClassVar[bool] = True

    network: Size = "large"
    """torchvision's raft_large, as LVD-2M; or raft_small, which takes a quarter of the operations and errs more."""
    weights: str | None = None
    """`hub` downloads torchvision's (BSD-3-Clause); or a file, or a folder with raft_large.safetensors or .pth. None:
    no package ships any, so the scores are null."""
    weights_sha256: str | None = None
    """What a file of your own must hash to; the first digits will do."""
    fps: float = Field(2.0, gt=0, le=30)
    """Pictures per second: LVD-2M's. Other distances are converted to its half second in proportion."""
    updates: int = Field(12, ge=1, le=64)
    """Refinements of the flow: torchvision's default, and that of the paper's demo."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row | Failure]:
        wanted, why = _wanted(inputs)
        clips = sorted(inputs["clips"].to_pylist(), key=lambda clip: clip["start_pts"])
        chosen = [clip for clip in clips if clip["clip_id"] in wanted]
        network = None
        if chosen and self.weights is not None:
            network = _loaded(self.network, str(_file(self.network, self.weights, self.weights_sha256)))
        for clip in clips:
            row: Row = {"clip_id": clip["clip_id"], "source_id": clip["source_id"]}
            if clip["clip_id"] not in wanted:
                yield row | {"pairs": 0, "unmeasured": f"not looked at: {why}"}
            elif network is None:
                yield row | {"pairs": 0, "unmeasured": f"no weights: set raft.weights to a path or to {HUB}"}
        if network is None:
            return
        (source,) = inputs["sources"].to_pylist()
        with work.source(source["path"]) as path:
            for clip in chosen:
                try:
                    pairs = list(self._pairs(network, path, source, clip, work))
                except Exception as error:
                    yield Failure(clip["clip_id"], error)
                    continue
                backend = f"{MODELS[self.network].name} ({device()})"
                row = {"clip_id": clip["clip_id"], "source_id": clip["source_id"], "backend": backend}
                yield row | _summed(pairs)

    def _pairs(self, network: torch.nn.Module, path: str, source: Row, clip: Row, work: Workspace) -> Iterator[Pair]:
        """The clip's picture pairs, of the same samples as the stage `flow` takes."""
        sampler = Sampler(self.fps)
        last: tuple[float, np.ndarray] | None = None
        lead = lead_of(source["split_pts"], clip["start_pts"]) if source["split_pts"] else None
        for frame in Decode(path, Timing.of(source), clip["start_pts"], clip["end_pts"], lead):
            if not sampler.takes(frame.t_s) or frame.t_s < clip["start_s"] - EPSILON_S:
                continue
            picture, shape = _picture(frame)
            if last is not None:
                yield _measured(self._flow(network, last[1], picture), shape, frame.t_s - last[0])
            last = frame.t_s, picture
            work.progress(frame.t_s)

    def _flow(self, network: torch.nn.Module, before: np.ndarray, now: np.ndarray) -> np.ndarray:
        """Flow (2, 520, 960) in px between two pictures (3, 520, 960), -1 to 1."""
        import torch

        with torch.inference_mode():
            pair = torch.from_numpy(np.stack([before, now])).to(device())
            return network(pair[:1], pair[1:], num_flow_updates=self.updates)[-1][0].float().cpu().numpy()


def _wanted(inputs: Mapping[str, pa.Table]) -> tuple[set[str], str]:
    """The clips to look at, and why not the others."""
    if "screening" in inputs:
        return {row["clip_id"] for row in inputs["screening"].to_pylist() if row["kept"]}, "screened out"
    return {row["clip_id"] for row in inputs["clips"].to_pylist() if row["long_enough"]}, "too short"


def _file(size: Size, given: str, sha256: str | None) -> Path:
    """The weights' file, its checksum right; in a folder it has the network's name."""
    model = MODELS[size]
    path = model.weights(given, sha256)
    if not path.is_dir():
        return path
    for ending in (".safetensors", ".pth"):
        if (path / (model.name + ending)).is_file():
            return model.weights(str(path / (model.name + ending)), sha256)
    raise WeightsError(f"{model.name}: no {model.name}.safetensors or {model.name}.pth in the folder {path}")


@lru_cache(maxsize=1)
def _loaded(size: Size, path: str) -> torch.nn.Module:
    """The network with its weights, loaded once a process."""
    try:
        import torch
        from torchvision.models import optical_flow
    except ImportError as error:
        raise WeightsError(f"raft needs torchvision ({error}); run: pip install 'longtake[models]'") from None
    torch.set_num_threads(1)  # a worker has one core
    make = optical_flow.raft_small if size == "small" else optical_flow.raft_large
    network = make(weights=None, progress=False)
    load_into(MODELS[size], network, Path(path))
    return network.to(device()).eval()


def _picture(frame: Frame) -> tuple[np.ndarray, tuple[int, int]]:
    """The picture as the network takes it, (3, 520, 960) float32 RGB from -1 to 1, and its own rows and columns."""
    bgr = frame.picture(max(LVD_SIZE))
    rows, columns = LVD_SIZE
    rgb = cv2.cvtColor(cv2.resize(bgr, (columns, rows), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(rgb.transpose(2, 0, 1)).astype(np.float32) / 127.5 - 1, bgr.shape[:2]


def _measured(flow: np.ndarray, shape: tuple[int, int], seconds: float) -> Pair:
    """A flow (2, 520, 960) in px between pictures that had `shape` (rows, columns) before."""
    if not np.isfinite(flow).all():
        return Pair(float("nan"), float("nan"))
    # In widths: the picture was brought to 520x960, whatever its shape.
    x, y = flow[0] / LVD_SIZE[1], flow[1] / LVD_SIZE[0] * (shape[0] / shape[1])
    return Pair(float(np.hypot(x, y).mean()) / seconds, float(np.hypot(*flow).mean()) * LVD_GAP_S / seconds)


def _summed(pairs: list[Pair]) -> Row:
    """The columns of a clip out of its pairs."""
    speeds = np.array([pair.mean_w_s for pair in pairs])
    finite = np.isfinite(speeds)
    row: Row = {"pairs": int(finite.sum()), "series_w_s": [float(s) if s == s else None for s in speeds]}
    if not pairs:
        return row | {"unmeasured": "no two samples lie inside the clip"}
    if finite.any():
        row["mean_w_s"] = speeds[finite].mean()
        row["p95_w_s"] = np.percentile(speeds[finite], 95)
        row["flow_px_520x960_2fps"] = np.array([pair.lvd_px for pair in pairs])[finite].mean()
    failed = len(pairs) - int(finite.sum())
    return row | (
        {"unmeasured": f"the network's flow is not finite in {failed} of {len(pairs)} pairs"} if failed else {}
    )
