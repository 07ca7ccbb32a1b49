"""From a `ModelSpec` to a network in eval mode, with the preprocessing that its weights expect.

No code of the user's runs without ``trust_code``, and weights are only ever read
as data (safetensors, or a pickle that torch restricts to tensors).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision import models

from pipeline.io.objects import read
from pipeline.models.zfnet import ARCHITECTURES, PREPROCESS
from schemas.errors import ModelError, nearest
from schemas.specs import ModelSpec, PreprocessSpec

# torchvision builds these with auxiliary heads that only training uses, and turns on their input
# transform exactly when weights are loaded.
_AUXILIARY = ("googlenet", "inception_v3")


@dataclass(frozen=True)
class LoadedModel:
    """A network and what goes with it.

    Attributes:
        module: in eval mode, on the CPU, fp32.
        preprocess: what its weights expect.
        weights_sha256: of names, shapes and bytes, the same for every file format.
        nonfinite: how many weights are NaN or infinite.
    """

    module: nn.Module
    preprocess: PreprocessSpec
    weights_sha256: str
    nonfinite: int


def architectures() -> list[str]:
    """Every name that ``arch`` takes: the paper's networks and torchvision's classifiers."""
    return [*ARCHITECTURES, *models.list_models(module=models)]


def load_model(spec: ModelSpec) -> LoadedModel:
    """Build the architecture and load its weights.

    Raises:
        ModelError: unknown architecture or weights name, unreadable file, keys that do not fit,
            or an import path without ``trust_code``.
    """
    if ":" in spec.arch:
        build, preprocess = _import_builder(spec), PreprocessSpec()
    elif spec.arch in ARCHITECTURES:
        build, preprocess = ARCHITECTURES[spec.arch], PREPROCESS[spec.arch]
    elif spec.arch in models.list_models(module=models):
        build, preprocess = _torchvision_builder(spec.arch), published_preprocess(spec)
    else:
        raise ModelError(
            f"arch: {spec.arch!r} is no known architecture; {nearest(spec.arch, architectures())}; "
            "your own goes by 'package.module:function' with --trust-code"
        )
    module = _with_weights(spec, build)
    module.eval().requires_grad_(requires_grad=False)
    state = module.state_dict()
    return LoadedModel(module, preprocess, weights_digest(state), _nonfinite(state))


def _with_weights(spec: ModelSpec, build: Callable[..., nn.Module]) -> nn.Module:
    if spec.weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            return _build(spec, build, spec.num_classes)
    if re.fullmatch(r"[A-Z][A-Z0-9_]*", spec.weights):
        return _published(spec)
    state = read_weights(spec.weights)
    module = _build(spec, build, spec.num_classes)
    classes = _classes_of(module, state)
    if classes is not None and spec.num_classes is None:
        module = _build(spec, build, classes)
    _load_state(module, state, spec)
    return module


def _build(spec: ModelSpec, build: Callable[..., nn.Module], classes: int | None) -> nn.Module:
    try:
        module = build() if classes is None else build(num_classes=classes)
    except Exception as error:  # a user's function may raise anything
        raise ModelError(f"arch: {spec.arch!r} failed to build: {error!r}") from error
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"arch: {spec.arch!r} returned {type(module).__name__}; "
            "it must return a torch.nn.Module"
        )
    return module


def _torchvision_builder(arch: str) -> Callable[..., nn.Module]:
    def build(**options: int) -> nn.Module:
        extra: dict[str, Any] = {}
        if arch in _AUXILIARY:
            # The heads' weights are then simply not asked for; see _load_state.
            extra = {"aux_logits": False, "init_weights": True, "transform_input": True}
        module: nn.Module = models.get_model(arch, weights=None, **extra, **options)
        return module

    return build


def _published(spec: ModelSpec) -> nn.Module:
    choices = _weight_names(spec.arch)
    if spec.weights not in choices:
        raise ModelError(
            f"weights: {spec.arch!r} has no published weights {spec.weights!r}; "
            f"{nearest(spec.weights, choices)}; or give a .safetensors or .pth file, or 'random'"
        )
    classes = {} if spec.num_classes is None else {"num_classes": spec.num_classes}
    try:
        module: nn.Module = models.get_model(spec.arch, weights=spec.weights, **classes)
    except ValueError as error:
        raise ModelError(
            f"weights: {spec.weights!r} of {spec.arch!r} have classes of their own ({error}); "
            "leave num_classes out"
        ) from error
    except OSError as error:
        raise ModelError(
            f"weights: {spec.weights!r} of {spec.arch!r} could not be downloaded ({error}); "
            "give a local file with --weights"
        ) from error
    return module


def _weight_names(arch: str) -> list[str]:
    if arch not in models.list_models(module=models):
        return []
    return ["DEFAULT", *(weight.name for weight in models.get_model_weights(arch))]


def published_preprocess(spec: ModelSpec) -> PreprocessSpec:
    """The preset of the named weights; for a file or random ones the architecture's own.

    That is the oldest with the smallest frame. The name is one of torchvision's.
    """
    weights = models.get_model_weights(spec.arch)
    if spec.weights in _weight_names(spec.arch):
        preset = weights[spec.weights].transforms()
    else:
        preset = min((one.transforms() for one in weights), key=lambda one: one.crop_size[0])
    resize, crop = preset.resize_size, preset.crop_size
    return PreprocessSpec.model_validate(
        {
            "resize_px": resize[0],
            "crop_px": crop[0],
            "interpolation": preset.interpolation.value,
            "mean": tuple(preset.mean),
            "std": tuple(preset.std),
        }
    )


def _import_builder(spec: ModelSpec) -> Callable[..., nn.Module]:
    if not spec.trust_code:
        raise ModelError(
            f"arch: {spec.arch!r} is an import path, and importing it runs its code; add "
            "--trust-code if you trust it"
        )
    place, _, name = spec.arch.rpartition(":")
    try:
        module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
        builder = getattr(module, name)
    except Exception as error:  # the user's module may raise anything
        raise ModelError(f"arch: {spec.arch!r} cannot be imported: {error!r}") from error
    if not callable(builder):
        raise ModelError(f"arch: {spec.arch!r} is {type(builder).__name__}, not a function")
    return builder  # type: ignore[no-any-return]  # checked in _build, when it has been called


def _import_module(name: str) -> Any:
    return importlib.import_module(name)


def _import_file(path: Path) -> Any:
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    if module_spec is None or module_spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module


def read_weights(location: str) -> dict[str, Tensor]:
    """Read a state dict as data; nothing in the file is run.

    Args:
        location: path or URL of a ``.safetensors`` file, or of a pickle that holds only tensors
            (a bare state dict, or one under ``state_dict`` or ``model``).

    Returns:
        Tensors on the CPU by name; a ``module.`` prefix (DataParallel) is taken off.

    Raises:
        ModelError: missing, unreadable, or not a state dict.
    """
    try:
        data = read(location)
    except FileNotFoundError as error:
        raise ModelError(f"weights: {location} does not exist; give a file, or 'random'") from error
    except OSError as error:
        raise ModelError(
            f"weights: {location} cannot be read ({error}); give access, or another file"
        ) from error
    try:
        if location.endswith(".safetensors"):
            state: Any = safetensors.torch.load(data)
        else:
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file makes the readers raise
        first = (str(error).splitlines() or [repr(error)])[0]
        raise ModelError(
            f"weights: {location} is not a file of plain weights ({first}); save the state dict, "
            "best as .safetensors"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f"weights: {location} holds no state dict (tensors by name)")
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def _classes_of(module: nn.Module, state: dict[str, Tensor]) -> int | None:
    """Number of classes in the file, where only the classifier's width differs from the model's."""
    own = module.state_dict()
    widths = {
        int(tensor.shape[0])
        for name, tensor in state.items()
        if name in own and tensor.dim() and tensor.shape != own[name].shape
        if tensor.shape[1:] == own[name].shape[1:]
    }
    return widths.pop() if len(widths) == 1 else None


def _load_state(module: nn.Module, state: dict[str, Tensor], spec: ModelSpec) -> None:
    own = module.state_dict()
    if spec.arch in _AUXILIARY:
        state = {
            k: v for k, v in state.items() if not k.startswith(("aux1.", "aux2.", "AuxLogits."))
        }
    # Files from before batch norm counted batches lack the count, which inference never reads.
    optional = {name for name in own if name.endswith("num_batches_tracked")}
    missing = sorted(own.keys() - state.keys() - optional)
    extra = sorted(state.keys() - own.keys())
    shapes = [
        f"{name} is {list(state[name].shape)}, the model has {list(own[name].shape)}"
        for name in own.keys() & state.keys()
        if state[name].shape != own[name].shape
    ]
    problems = [
        *_listed(
            "missing", [f"{name} ({nearest(name, extra)})" if extra else name for name in missing]
        ),
        *_listed("not in the model", extra),
        *_listed("wrong shape", sorted(shapes)),
    ]
    if problems:
        raise ModelError(f"weights: {spec.weights} do not fit {spec.arch}: " + "; ".join(problems))
    module.load_state_dict(state, strict=False)


def _listed(title: str, names: list[str]) -> list[str]:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return [f"{title}: {', '.join(names[:5])}{more}"] if names else []


def weights_digest(state: dict[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _nonfinite(state: dict[str, Tensor]) -> int:
    floats = (tensor for tensor in state.values() if tensor.is_floating_point())
    return sum(int((~torch.isfinite(tensor)).sum()) for tensor in floats)
