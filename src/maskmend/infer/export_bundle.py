"""A MONAI bundle: a folder with the model, what it takes and gives, and how MONAI runs it on image files.

https://docs.monai.io/en/stable/mb_specification.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..data.plan import Plan, by
from .predict import PredictConfig

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
TRANSFORMS = Path(__file__).with_name("export_transforms.py")

CASES = (
    "$[{'image': sorted(glob.glob(glob.escape(f).replace('_0000' + @ending, '_[0-9][0-9][0-9][0-9]' + @ending)))} "
    "for f in sorted(glob.glob(@dataset_dir + '/*' + @ending)) "
    "if not re.search('_(?!0000)[0-9]{4}$', f.removesuffix(@ending))]"
)
EVALUATOR = (
    "$(lambda infer, net, device, save: torch.no_grad()("
    "lambda case: save({**case, 'pred': infer(case['image'][None].to(device), net)[0]})"
    "))(@inferer, @network_def, @device, @postprocessing)"
)

SAVE = {
    "_target_": "SaveImaged",
    "keys": "pred",
    "output_dir": "@output_dir",
    "output_ext": "@ending",
    "output_postfix": "",
    "output_dtype": None,
    "resample": False,
    "separate_folder": False,
}


@dataclass(frozen=True)
class Model:
    """What was exported. window: in pixels, as images are shown to it. dynamic: whether the ONNX file, and whether the
    TorchScript file take every batch and size. method: its name; network: settings of its networks."""

    plan: Plan
    predict: PredictConfig
    method: str
    network: Mapping[str, Any]
    window: tuple[int, ...]
    onnx_dynamic: bool = True
    script_dynamic: bool = True

    @property
    def channels(self) -> list[dict[str, Any]]:
        """How each channel is normalised, with the numbers it needs."""
        rules = [rule.model_dump() for rule in self.plan.normalisation]
        return [rule if rule["scheme"] == "ct" else {"scheme": rule["scheme"]} for rule in rules]

    def about(self) -> dict[str, Any]:
        """The preprocessing, for machines; lengths in the order of the model's axes."""
        return {
            "maskmend": __version__,
            "method": self.method,
            "network": dict(self.network),
            "axes": "yx" if self.plan.dims == 2 else "zyx",
            "spacing_mm": self.plan.spacing_mm,
            "size": self.plan.size,
            "normalisation": [
                {"channel": name, **rule} for name, rule in zip(self.plan.channel_names, self.channels, strict=True)
            ],
            "patch": self.window,
            "multiple": self.plan.multiple,
            "overlap": self.predict.overlap,
            "classes": dict(sorted(self.plan.labels.items(), key=lambda item: item[1])),
        }


def write_bundle(folder: Path, model: Model) -> None:
    """Everything of the bundle but its ``models``."""
    texts = {
        "configs/metadata.json": json.dumps(metadata(model), indent=2, ensure_ascii=False) + "\n",
        "configs/inference.json": json.dumps(inference(model), indent=2, ensure_ascii=False) + "\n",
        "scripts/__init__.py": "",
        "scripts/transforms.py": TRANSFORMS.read_text(encoding="utf-8"),
        "docs/README.md": readme(model),
    }
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def inference(model: Model) -> dict[str, Any]:
    """``configs/inference.json``: what `python -m monai.bundle run` does."""
    plan = model.plan
    to_model = {"dims": plan.dims, "channels": model.channels, "spacing_mm": plan.spacing_mm, "size": plan.size}
    return {
        "imports": ["$import glob", "$import re"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/eval'",
        "ending": ".nii.gz" if plan.dims == 3 or plan.spacing_mm else ".png",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True, "image_only": True},
                {"_target_": "scripts.transforms.ToModel", **to_model},
            ],
        },
        "datalist": CASES,
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": model.window,
            "sw_batch_size": model.predict.window_batch if model.script_dynamic else 1,
            "overlap": model.predict.overlap,
            "mode": "gaussian",
            "sw_device": "@device",
            "device": "$torch.device('cpu')",
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "scripts.transforms.FromModel"}, SAVE],
        },
        "evaluator": EVALUATOR,
        "run": ["$len(list(map(@evaluator, @dataset)))"],
    }


def metadata(model: Model) -> dict[str, Any]:
    """``configs/metadata.json``: what the model takes and gives."""
    plan = model.plan
    names = {str(value): name for name, value in plan.labels.items()}
    shape = [f"{step}*n" for step in plan.multiple] if model.script_dynamic else list(model.window)
    common = {"type": "image", "spatial_shape": shape, "dtype": "float32", "is_patch_data": True}
    channels = dict(enumerate(plan.channel_names))
    image = {"format": "magnitude", "modality": ", ".join(plan.channel_names), "num_channels": plan.channels}
    pred = {"format": "probability", "num_channels": plan.classes}
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "exported by MaskMend"},
        "monai_version": version("monai"),
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"nibabel": version("nibabel"), "pillow": version("pillow")},
        "name": f"maskmend {model.method}",
        "task": f"Segmentation of {', '.join(name for name, value in plan.labels.items() if value)}",
        "description": "A segmentation network trained with MaskMend on masks that are partly wrong.",
        "authors": "see the run it was exported from",
        "copyright": "see the run it was exported from",
        "network_data_format": {
            "inputs": {"image": {**common, **image, "value_range": [], "channel_def": channels}},
            "outputs": {"pred": {**common, **pred, "value_range": [0, 1], "channel_def": names}},
        },
        "maskmend": model.about(),
    }


def readme(model: Model) -> str:
    """``docs/README.md``, for people."""
    plan = model.plan
    rules = "\n".join(
        f"| {name} | {said(rule)} |" for name, rule in zip(plan.channel_names, model.channels, strict=True)
    )
    classes = "\n".join(f"| {value} | {name} |" for name, value in sorted(plan.labels.items(), key=lambda x: x[1]))
    return README.format(
        method=model.method,
        batch="every batch, and every size whose lengths are multiples of " + by(plan.multiple)
        if model.onnx_dynamic
        else f"one image of {by(model.window)} pixels at a time",
        axes="rows, columns" if plan.dims == 2 else "slices, rows, columns",
        grid=grid(plan),
        rules=rules,
        window=by(model.window),
        overlap=f"{model.predict.overlap:.0%}",
        classes=classes,
        ending=inference(model)["ending"],
    )


def grid(plan: Plan) -> str:
    """What the images are brought to."""
    how = "linearly, without corners aligned" + (", and antialiased" if plan.dims == 2 else "")
    if plan.size is not None:
        return f"Resize to {by(plan.size)} pixels, {how}."
    if plan.spacing_mm is None:
        return "Leave the grid as it is."
    return f"Resample to {by(plan.spacing_mm)} mm, {how}; leave the grid where the spacing is this already."


def said(rule: Mapping[str, Any]) -> str:
    """How one channel is normalised."""
    scheme = rule["scheme"]
    if scheme == "ct":
        return f"clip to {rule['low']:g} … {rule['high']:g}, subtract {rule['mean']:g}, divide by {rule['sd']:g}"
    if scheme == "zscore":
        return "subtract the mean of the whole image, divide by its standard deviation"
    return "divide by 255" if scheme == "rgb_to_0_1" else "leave as it is"


README = """# A segmentation model, exported by MaskMend (method {method})

| file | |
|---|---|
| `models/model.onnx` | for onnxruntime and others: `image` → `probabilities`. It takes {batch} |
| `models/model.ts` | the same as TorchScript |
| `configs/inference.json`, `configs/metadata.json` | the MONAI bundle; all numbers below, for machines |
| `scripts/transforms.py` | the preprocessing, and the way back, in 100 lines of torch |

Run it with MONAI, here, on a folder of images (`CASE_0000{ending}`, `CASE_0001{ending}` … for each channel, or
`CASE{ending}`):

```sh
pip install "monai[fire,nibabel,pillow]"
python -m monai.bundle run --config_file configs/inference.json --dataset_dir images --output_dir masks
```

## What the model takes

An image (batch, channel, {axes}), float32. In this order:

1. {grid}
2. Normalise each channel:

| channel | |
|---|---|
{rules}

3. Show it in windows of {window} pixels that overlap by {overlap}, averaged with Gaussian weights; pad smaller images
   with zeros, equally on both sides.

## What it gives

Probabilities (batch, class, {axes}), which sum to one. Bring them back to the image's grid, linearly, and take the
largest:

| value | class |
|---|---|
{classes}

The model is no medical device. Look at its masks before anything depends on them.
"""
