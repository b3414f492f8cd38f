"""What a detector sees after the same samples with one backbone or another, and what each costs.

    OMP_NUM_THREADS=1 python benchmarks/backbones.py --data runs/data --validation runs/judge
    python benchmarks/backbones.py --backbones resnet18 vit_tiny_patch16_224 --samples 4000

Each backbone learns from nothing, from the same single moments in the same order, as
``configs/detector_compact.yaml`` says otherwise; its run stands in a folder of --out, and one that
is there is gone on with, not made again. Printed: IoU of vehicles and lane lines on the validation
drives, parameters of the backbone and of the whole detector, and what one camera's picture costs
on the way to its features, in processor time of one core: to look, and to learn from (forwards and
backwards). All else is the same for all.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from perception.network import DetectorNetwork
from roadloop.config import find_config, load_config
from training.detector_training import DetectorTraining

BACKBONES = (
    "regnetx_002",
    "mobilenetv4_conv_small",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "resnet18",
)
PICTURES, TRIES = 4, 5


def train(name: str, args: argparse.Namespace) -> dict[str, float]:
    """The last validation of a run, which is made, gone on with, or there already."""
    out = args.out / name
    words = [
        "--set", f"model.backbone={name}", "--set", f"samples={args.samples}",
        "--set", "alone=0", "--set", "batch=4",
        "--set", "data.simulated=null", "--set", "data.moments=1",
        "--set", f"data.folders=[{','.join(map(str, args.data))}]",
        "--set", f"data.validation=[{','.join(map(str, args.validation))}]",
        "--set", "validate_every=100000", "--set", "validation_clips=128",
    ]  # fmt: skip
    if args.processes > 1:
        words += ["--set", "threads=1"]
        start = ["torch.distributed.run", "--nproc-per-node", str(args.processes), "-m"]
    else:
        start = []
    if not (out / "validation.csv").is_file() or not last_row(out / "validation.csv"):
        going = (out / "checkpoints").is_dir() and any((out / "checkpoints").iterdir())
        command = [sys.executable, "-m", *start, "training.train_detector", "--out", str(out)]
        command += ["--config", "detector_compact", *words]
        subprocess.run([*command, "--resume" if going else "--overwrite"], check=True)
    return last_row(out / "validation.csv")


def last_row(file: Path) -> dict[str, float]:
    """{} where there is none."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return {key: float(value) for key, value in rows[-1].items()} if rows else {}


def cost(name: str) -> dict[str, float]:
    """Millions of parameters, and ms of processor time per picture: looking, and learning."""
    config = load_config(
        DetectorTraining, find_config("detector_compact"), [f"model.backbone={name}"]
    ).model
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = DetectorNetwork(config)
    width, height = config.size
    images = torch.randint(0, 256, (PICTURES, 3, height, width), dtype=torch.uint8)

    def look() -> None:
        with torch.no_grad():
            network.pictures.eval()(images)

    def learn() -> None:
        network.pictures.train()(images)[0].sum().backward()

    return {
        "backbone": sum(p.numel() for p in network.pictures.backbone.parameters()) / 1e6,
        "all": sum(p.numel() for p in network.parameters()) / 1e6,
        "look": picture_ms(look),
        "learn": picture_ms(learn),
    }


def picture_ms(act: Callable[[], None]) -> float:
    """The least of several tries, which other programs on the machine disturb the least."""
    spent = []
    for _ in range(TRIES):
        begin = time.process_time()
        act()
        spent.append(time.process_time() - begin)
    return 1e3 * min(spent) / PICTURES


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of drives")
    parser.add_argument("--validation", type=Path, nargs="+", required=True)
    parser.add_argument("--backbones", nargs="+", default=BACKBONES, help="any names of timm")
    parser.add_argument("--samples", type=int, default=2000, help="moments each learns from")
    parser.add_argument("--processes", type=int, default=1, help="that train together")
    parser.add_argument("--out", type=Path, default=Path("runs/backbones"))
    args = parser.parse_args()
    lines = []
    for name in args.backbones:
        seen, costs = train(name, args), cost(name)
        lines.append(
            f"| {name} | {seen['vehicle_iou']:.3f} | {seen['drivable_iou']:.3f} | "
            f"{seen['lane_line_iou']:.3f} | {costs['look']:.1f} | {costs['learn']:.1f} | "
            f"{costs['backbone']:.2f} | {costs['all']:.2f} |"
        )
    print("| backbone | vehicle IoU | drivable | lane line | look, ms | learn, ms | M | in all |")
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
