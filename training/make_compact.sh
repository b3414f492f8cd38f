#!/bin/sh
# Makes perception/weights/compact.safetensors from nothing: drives of the simulator, then training.
# Command: make compact (or, in a shell where roadloop is installed: sh training/make_compact.sh)
# docs/training-detector.md says how long that takes and what comes of it. Recording and training go
# on where they were stopped; the same machine gives the same bytes.
set -eu
data=runs/detector run=runs/detector/compact
export OMP_NUM_THREADS=1  # two processes share the cores

record() { # folder, agents, seeds, seconds, families ...
    out=$1 agents=$2 seeds=$3 seconds=$4
    shift 4
    roadloop record "$@" --agents "$agents" --seeds "$seeds" --seconds "$seconds" --every 5 --driver route-follower \
        --rig compact --weather random --out "$data/$out" --resume
}

record train/town 180 2000:2110 24 dense_town
record train/junctions 24 2000:2024 16 \
    red_light unprotected_left_turn uncontrolled_junction roundabout stop_sign
record train/vulnerable 16 2000:2040 14 pedestrian_crossing cyclist_ahead
record train/roads 20 2000:2012 16 \
    cut_in lead_vehicle_brake lane_following parked_obstruction merge random_route
record validation/town 100 500:503 20 dense_town
record validation/everyday 20 500:502 12 \
    red_light unprotected_left_turn roundabout pedestrian_crossing cyclist_ahead

resume=
[ -d "$run/checkpoints" ] && resume=--resume
torchrun --nproc-per-node 2 -m training.train_detector --config detector_compact --out "$run" \
    --set threads=1 --set data.simulated=null --set data.balance=class --set samples=20480 \
    --set "data.folders=[$data/train/town,$data/train/junctions,$data/train/vulnerable,$data/train/roads]" \
    --set "data.validation=[$data/validation/town,$data/validation/everyday]" \
    --set validate_every=640 --set validation_clips=64 $resume
mkdir -p perception/weights
cp "$run/detector.safetensors" perception/weights/compact.safetensors
