# Two commands do everything: `make train` and `make test`. The rest is listed by `make help`.
PYTHON_VERSION := 3.13
VENV := .venv
PYTHON := $(VENV)/bin/python
SAM := .venv-sam/bin/sam
UV := $(if $(shell command -v uv 2>/dev/null),uv,.uv/bin/uv)
MAX_ARTIFACT_MB := 45
# Not called BUNDLES, which the function reads from the environment: `make serve` may serve other bundles.
PACKAGED := build/bundles
WORKFLOWS := .github/workflows
# The long tests that train what they need: they run while the shipped scorers are trained.
FROM_NOTHING := tests/test_leakage.py tests/test_loop.py tests/training/run/test_cluster.py
BY_FILE := --dist loadfile --no-loadscope-reorder
# --skip-download: checkov would otherwise download its guidelines.
CHECKOV := .venv-lint/bin/checkov --framework cloudformation --skip-download --compact --quiet

# For a command that has already printed what is wrong: ends make without its own last line, "Error 1". A make that is
# ended by SIGPIPE prints nothing and has exit status 141; if it ignores the signal, the command's exit status remains.
END_QUIETLY = { status=$$?; kill -PIPE $$PPID; exit $$status; }

# These count only if they are typed (make promote FORCE='a reason'), because containers and CI systems set a VERSION, a
# LOG or a TIME of their own. STORE, SIGNING_KEY, BENCHMARK_DATA and HISTORY may also come from the environment.
TYPED := ADD ARCHITECTURE BEFORE BUILD_DIR CLEAR DATA DELETE ENGINE EVERY EXPIRES FIELD FILE FORCE ID INPUT KEY LABEL LABEL_DELAY LOAD \
  LOG OUT OUTPUT PAST REASON REASONS REMOVE REPLACE REQUESTS ROWS SCORER TIME VALUE VERSION
AMBIENT := $(foreach name,$(TYPED),$(if $(findstring environment,$(origin $(name))),$(name)))
IGNORED := $(foreach name,$(AMBIENT),$(if $(value $(name)),$(name)))
$(foreach name,$(AMBIENT),$(eval override undefine $(name)))
# Typed values may contain anything: they reach the commands unchanged in the environment, and no shell parses them.
$(foreach name,$(TYPED) STORE SIGNING_KEY BENCHMARK_DATA HISTORY,$(if $(filter command,$(origin $(name))),$(eval override export $(name) := $$(value $(name)))))
# The function's processor: x86_64 or arm64. The built template accepts only the one that it was built for.
ARCHITECTURE ?= x86_64
BUILD_DIR ?= .aws-sam/build
export ARCHITECTURE BUILD_DIR
# Begins a recipe: names those of its variables that are ignored because only the environment sets them.
name_ignored = $(if $(filter $(1),$(IGNORED)),echo "make $@ ignores $(filter $(1),$(IGNORED)) from the environment: pass it as an argument (make $@ $(firstword $(filter $(1),$(IGNORED)))=...)" >&2;)

# `dvc repro` runs its stages with `python`, which must be this project's and look for modules in this folder.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
unexport PYTHONSAFEPATH
# If it is set, as in many containers, each stage and each process that a test starts compiles our modules again.
unexport PYTHONDONTWRITEBYTECODE
export SAM_CLI_TELEMETRY := 0
# uv keeps packages below the home folder, or here if the home folder is not writable.
ifndef UV_CACHE_DIR
ifneq ($(shell mkdir -p "$${XDG_CACHE_HOME:-$${HOME:?}/.cache}/uv" 2>/dev/null && test -w "$${XDG_CACHE_HOME:-$$HOME/.cache}/uv" && echo yes),yes)
export UV_CACHE_DIR := $(CURDIR)/.uv/cache
export UV_PYTHON_INSTALL_DIR := $(CURDIR)/.uv/python
endif
endif
# DVC and MLflow fail if the user has no name, as in containers with a numeric user; its number then serves as the name.
ifeq ($(LOGNAME)$(USER)$(LNAME)$(USERNAME),)
export LOGNAME := $(shell id -un 2>/dev/null)
endif

# Targets run one after the other, whatever -j says: packaging needs trained models. Only `make test` runs two at once.
ifneq ($(origin SIDE_BY_SIDE),command line)
.NOTPARALLEL:
endif

.DEFAULT_GOAL := help
.PHONY: help env data train try test test-from-nothing lint serve release promote rollback shadow lists releases release-card documents score history history-check explain agreement monitor backtest \
  retrain track mlflow build artifact image cost deploy-check lint-template lint-workflows bench robust swaps bench-gate alarms \
  bench-automl bench-cost bench-control bench-whatif bench-history bench-monitoring bench-training bench-repro backtests quality lock clean build-FraudFunction

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 18
	@echo "Variables are arguments of make (NAME=value); only STORE, SIGNING_KEY, BENCHMARK_DATA and HISTORY are also read from the environment."

train: env data  ## train and package a bundle per scorer, from nothing (dvc repro)
	@$(PYTHON) -m training.declaration >/dev/null
	dvc repro
	@$(PYTHON) -m training.track || echo "trained, but not tracked"

try: env  ## train a model on your own file: make try DATA=payments.csv LABEL=is_fraud TIME=created_at [LABEL_DELAY=days] [OUT=folder]
	@$(call name_ignored,DATA LABEL TIME LABEL_DELAY OUT)$(PYTHON) -m training.try_file --data "$$DATA" --label "$$LABEL" --time "$$TIME" --label-delay "$$LABEL_DELAY" --out "$$OUT" || $(END_QUIETLY)

# Training seldom keeps two cores busy, so the linters, and the tests that train a scorer of their own, run beside it.
# The other tests have one process more than there are cores, because some wait for processes that they start or end.
test: env  ## lint, types and all tests
	@$(MAKE) --no-print-directory --jobs 2 SIDE_BY_SIDE=yes train test-from-nothing
	pytest --cov --cov-append $(FROM_NOTHING:%=--ignore %) --numprocesses $$(($$(getconf _NPROCESSORS_ONLN) + 1)) $(BY_FILE) \
	  --durations 40 --durations-min 2

test-from-nothing: lint
	rm -f .coverage
	pytest --cov --cov-report= --cov-fail-under 0 $(FROM_NOTHING) --numprocesses 2 $(BY_FILE) --durations 10

lint: lint-template lint-workflows .venv-runtime/.installed  ## ruff, mypy, and the linters of template and workflows
	ruff check .
	ruff format --check .
	mypy

serve: train  ## serve the bundles at http://127.0.0.1:8000 (docs at /docs)
	uvicorn handler.app:app --host 127.0.0.1 --port 8000

# STORE is a folder (by default `store`) or s3://bucket/prefix.

score: env  ## score a file of rows: make score INPUT=in.parquet OUTPUT=out.csv SCORER=refund [REASONS=yes] [VERSION=...] [PAST=...] [ENGINE=dask]
	@$(call name_ignored,SCORER INPUT OUTPUT REASONS VERSION PAST ENGINE)$(PYTHON) -m training.score "$$SCORER" "$$INPUT" "$$OUTPUT" --reasons "$$REASONS" --version "$$VERSION" --past "$$PAST" --engine "$$ENGINE"

history: env  ## build, load, read or delete the history of cards and accounts: make history SCORER=... [BEFORE=2026-01-31 | LOAD=history.db | HISTORY=history.db KEY=card=4711 or DELETE=...]
	@$(call name_ignored,SCORER BEFORE LOAD KEY DELETE)$(PYTHON) -m training.history "$$SCORER" --before "$$BEFORE" --load "$$LOAD" --history "$$HISTORY" --key "$$KEY" --delete "$$DELETE"

history-check: env  ## recompute a history's features from the prediction log and compare them: make history-check SCORER=... LOG=predictions [PAST=state.parquet]
	@$(call name_ignored,SCORER LOG PAST)$(PYTHON) -m training.history_check "$$SCORER" "$$LOG" --past "$$PAST" || $(END_QUIETLY)

release: train  ## publish the packaged bundles: make release [SCORER=refund] [STORE=...] [SIGNING_KEY=key.pem]
	@$(call name_ignored,SCORER)$(PYTHON) -m training.release release --scorer "$$SCORER" --signing-key "$$SIGNING_KEY"

promote: env  ## put a released version into production if the gate agrees: make promote SCORER=refund [VERSION=...] [HISTORY=...] [FORCE='a reason']
	@$(call name_ignored,SCORER VERSION FORCE)$(PYTHON) -m training.release promote --scorer "$$SCORER" --version "$$VERSION" --force "$$FORCE"

rollback: env  ## return to the previous version: make rollback SCORER=refund [VERSION=...] [FORCE='a reason']
	@$(call name_ignored,SCORER VERSION FORCE)$(PYTHON) -m training.release rollback --scorer "$$SCORER" --version "$$VERSION" --force "$$FORCE"

lists: env  ## show or edit the lists of values whose requests are approved, reviewed or blocked: make lists SCORER=refund [ADD=block FIELD=... VALUE=... REASON=... EXPIRES=... | REMOVE=block FIELD=... VALUE=... | FILE=lists.csv REPLACE=yes | CLEAR=yes] [SIGNING_KEY=key.pem]
	@$(call name_ignored,SCORER ADD REMOVE FIELD VALUE REASON EXPIRES FILE REPLACE CLEAR)$(PYTHON) -m training.lists "$$SCORER" --add "$$ADD" --remove "$$REMOVE" --field "$$FIELD" --value "$$VALUE" --reason "$$REASON" --expires "$$EXPIRES" --file "$$FILE" --replace "$$REPLACE" --clear "$$CLEAR" --signing-key "$$SIGNING_KEY"

shadow: env  ## score a version as the shadow of the current one: make shadow SCORER=refund [VERSION=... or none]
	@$(call name_ignored,SCORER VERSION)$(PYTHON) -m training.release shadow --scorer "$$SCORER" --version "$$VERSION"

releases: env  ## list the released versions, their roles, and every pointer update
	@$(call name_ignored,SCORER)$(PYTHON) -m training.release list --scorer "$$SCORER"

release-card: env  ## write the card of a released version (purpose, owner, approver, changes): make release-card SCORER=refund [VERSION=...] [OUT=folder]
	@$(call name_ignored,SCORER VERSION OUT)$(PYTHON) -m training.release card --scorer "$$SCORER" --version "$$VERSION" --out "$$OUT"

documents: train  ## write the OpenAPI document and the SBOM of the packaged bundles, without a store: make documents [SCORER=refund] [OUT=folder]
	@$(call name_ignored,SCORER OUT)$(PYTHON) -m training.release documents --scorer "$$SCORER" --out "$$OUT"

explain: env  ## explain a recorded decision, and check that it can be recomputed: make explain SCORER=refund ID=r-17 LOG=predictions [OUTPUT=decision.json]
	@$(call name_ignored,SCORER ID LOG OUTPUT)$(PYTHON) -m training.explain "$$SCORER" "$$LOG" --id "$$ID" --output "$$OUTPUT" || $(END_QUIETLY)

agreement: env  ## compare a shadow's answers with the champion's: make agreement SCORER=refund LOG=predictions
	@$(call name_ignored,SCORER LOG)$(PYTHON) -m training.agreement "$$SCORER" "$$LOG"

monitor: env  ## say whether to leave, inspect or retrain a scorer: make monitor SCORER=refund LOG=predictions
	@$(call name_ignored,SCORER LOG)$(PYTHON) -m training.monitor "$$SCORER" "$$LOG"

backtest: train  ## replay what scheduled and alarm-driven retraining would have caught: make backtest SCORER=refund [EVERY=weeks]
	@$(call name_ignored,SCORER EVERY)$(PYTHON) -m training.backtest "$$SCORER" --every "$${EVERY:-4}"

retrain: env data  ## add new labelled rows, retrain, and let the gate judge: make retrain SCORER=refund [ROWS=new.parquet] [SIGNING_KEY=...]
	@$(call name_ignored,SCORER ROWS)$(PYTHON) -m training.retrain "$$SCORER" --rows "$$ROWS" --signing-key "$$SIGNING_KEY"

track: env  ## log the trained scorers to MLflow and align its aliases with the store
	@$(PYTHON) -m training.track

mlflow: env  ## serve MLflow's pages of the local runs at http://127.0.0.1:5000
	mlflow server --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port 5000

build: train artifact  ## build the Lambda artifact into .aws-sam/build (ARCHITECTURE=arm64 for the other processor)

# The processor is set only here: SAM's makefile builder passes on neither the architecture nor the parameters.
artifact: .venv-sam/.installed
	@$(call name_ignored,ARCHITECTURE BUILD_DIR)case "$$ARCHITECTURE" in x86_64|arm64) ;; \
	  *) echo "ARCHITECTURE is $$ARCHITECTURE; it must be x86_64 or arm64" >&2; exit 1;; esac
	ARTIFACT_FOR="$$ARCHITECTURE" $(SAM) build --build-dir "$$BUILD_DIR"
	@sed -i -e "/^  Architecture:/,/^  [A-Z]/s/Default: x86_64$$/Default: $$ARCHITECTURE/" \
	  -e "/^  ArchitectureIsTheArtifacts:/,/^  [A-Z]/s/- x86_64$$/- $$ARCHITECTURE/" "$$BUILD_DIR/template.yaml"
	@sed -n -e "/^  Architecture:/,/^  [A-Z]/s/Default: $$ARCHITECTURE$$/&/p" \
	  -e "/^  ArchitectureIsTheArtifacts:/,/^  [A-Z]/s/- $$ARCHITECTURE$$/&/p" "$$BUILD_DIR/template.yaml" | grep -c . | grep -qx 2 || \
	  { echo "the built template does not bind Architecture to $$ARCHITECTURE" >&2; exit 1; }

# The Dockerfile copies the artifact from where `make build` puts it, whatever BUILD_DIR says.
image: override BUILD_DIR := .aws-sam/build
image: build  ## build the container image fraud-scorer, which serves the artifact under uvicorn (needs Docker; ARCHITECTURE=arm64)
	docker build --platform linux/$(subst x86_64,amd64,$(ARCHITECTURE)) --tag fraud-scorer .

cost: env  ## what a deployment costs in a month, line by line: make cost [REQUESTS=1000000]
	@$(call name_ignored,REQUESTS)$(PYTHON) -m training.cost --requests "$${REQUESTS-1000000}"

deploy-check: train .venv-sam/.installed .venv-lint/.installed  ## check what can be checked before a deployment, for both processors
	@$(PYTHON) -m training.deploy_check

lint-template: ARN := arn:aws:
lint-template: KMS := kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab
# Both check the template; checkov also checks it with every option on, because it does not evaluate conditions.
lint-template: env .venv-sam/.installed .venv-lint/.installed  ## check the template with cfn-lint and checkov
	$(SAM) validate --lint
	$(CHECKOV) --file template.yaml
	@$(PYTHON) -m training.delivery.template build/template.json Authorizer=JWT JwtIssuer=https://issuer.example JwtAudience=fraud \
	  CorsOrigins=https://console.example WarmUp=enabled ModelBucket=create PredictionLog=create ReservedConcurrency=10 \
	  HistoryTable=create Dashboard=create Tracing=Active PredictionsKeyArn=$(ARN)ssm:eu-central-1:123456789012:parameter/key \
	  HistoryKeyArn=$(ARN)ssm:eu-central-1:123456789012:parameter/table HistoryTableKeyArn=$(ARN)$(KMS) SecretsKeyArn=$(ARN)$(KMS) \
	  ScoreScope=score OutcomesScope=label ModelsScope=audit DocsScope=read AlarmTopicArn=$(ARN)sns:eu-central-1:123456789012:on-call
	$(CHECKOV) --file build/template.json

# No linter needs the network: the package contains GitHub's schema, and zizmor skips the checks that would need it.
lint-workflows: env .venv-lint/.installed  ## check the workflows with GitHub's schema, zizmor and shellcheck
	.venv-lint/bin/check-jsonschema --builtin-schema vendor.github-workflows $(WORKFLOWS)/*.yml
	.venv-lint/bin/zizmor --quiet --no-progress --offline --strict-collection --persona pedantic $(WORKFLOWS)/*.yml
	@if [ -x .venv-lint/bin/shellcheck ]; then \
	  .venv-lint/bin/shellcheck .github/scripts/*.sh .ci/run && \
	  $(PYTHON) .github/scripts/lint_steps.py .venv-lint/bin/shellcheck $(WORKFLOWS)/*.yml; \
	else echo "shellcheck is not available for this processor; the other checks are done"; fi

# wrk sends requests to uvicorn; if it is missing and cannot be installed, the benchmark says so and goes on.
bench: build .venv-runtime/.installed  ## speed and size compared with an empty function, XGBoost's package and joblib
	@if ! command -v wrk >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing Debian's wrk"; apt-get update -qq && apt-get install -y -qq --no-install-recommends wrk || true; \
	fi
	$(PYTHON) -m benchmarks.serving.speed

bench-cost: build .venv-runtime/.installed  ## what a request uses of AWS, by memory size; make cost reads the recorded report
	$(PYTHON) -m benchmarks.serving.footprint

robust: train  ## generated requests and events, four times the sustainable load, a million predictions
	$(PYTHON) -m benchmarks.serving.robustness

swaps: train  ## two minutes of requests while versions are swapped, some of them damaged
	$(PYTHON) -m benchmarks.releases.swaps

bench-gate: train  ## how often the promotion gate lets equal and worse challengers pass
	$(PYTHON) -m benchmarks.releases.gate

alarms: train  ## the false alarms of the monitor, what it detects, and after how many requests
	$(PYTHON) -m benchmarks.monitoring.alarms

bench-control: train  ## the recall measured with and without a control group, and a year of retraining with and without it
	$(PYTHON) -m benchmarks.monitoring.control

bench-whatif: train  ## whether the changes suggested for 2,000 flagged test rows pass, and whether no nearer ones would
	$(PYTHON) -m benchmarks.serving.whatif

bench-history: env  ## what a history adds to a request, eight workers on one file, a table that fails, ten million rows in training
	$(PYTHON) -m benchmarks.history.request
	$(PYTHON) -m benchmarks.history.workers
	$(PYTHON) -m benchmarks.history.table
	$(PYTHON) -m benchmarks.history.training

bench-monitoring: build  ## what recording and monitoring cost
	$(PYTHON) -m benchmarks.monitoring.recording
	$(PYTHON) -m benchmarks.monitoring.cost

bench-training: train  ## how the stages' seconds and memory grow, up to ten million rows; the CSV reader compared with pandas
	$(PYTHON) -m benchmarks.training.reader
	$(PYTHON) -m benchmarks.training.stages

bench-repro: env  ## time and memory of `dvc repro` on the handbook's 1.75 million rows (BENCHMARK_DATA)
	$(PYTHON) -m benchmarks.training.repro

backtests: train  ## what retraining is worth, week by week, on the shipped scorers and on the handbook (BENCHMARK_DATA)
	$(PYTHON) -m benchmarks.monitoring.backtests

bench-automl: env data .venv-automl/.installed  ## make try compared with AutoGluon and plain XGBoost, ten minutes a set (BENCHMARK_DATA)
	$(PYTHON) -m benchmarks.quality.race

quality: train  ## published benchmarks compared with this project's figures (needs BENCHMARK_DATA)
	$(PYTHON) -m benchmarks.quality.published

lock:  ## resolve requirements*.in to the latest versions, in hash-pinned files
	$(COMPILE) handler/requirements.in -o handler/requirements.txt --no-emit-package numpy --no-emit-package scipy
	$(COMPILE) requirements-model.in -o requirements-model.lock --no-deps
	$(COMPILE) requirements.in -o requirements.lock $$(sed -n 's/^\([a-z]\)/--no-emit-package \1/p' requirements-model.in)
	$(COMPILE) requirements-automl.in -o requirements-automl.lock --no-emit-package nvidia-nccl-cu12
	for name in requirements-image requirements-sam requirements-runtime requirements-lint requirements-uv; do $(COMPILE) $$name.in -o $$name.lock || exit 1; done

clean:  ## remove what was built; data, environments and DVC's cache stay
	rm -rf build .aws-sam

env: $(VENV)/.installed  ## install the Python environment of training and tests

# DVC works without Git if it is configured so. The commit is then unknown, and training/run/provenance.py says why.
data: env  ## pull data/ from the DVC remote, or synthesise it if there is none
	@if git rev-parse --git-dir >/dev/null 2>&1; then \
	  ! grep -qs no_scm .dvc/config.local || dvc config --quiet --local --unset core.no_scm; \
	elif ! grep -qs no_scm .dvc/config.local; then \
	  echo "Git cannot read a repository here: DVC works without Git, and models do not record a commit"; \
	  dvc config --local core.no_scm true; \
	fi
	@if [ ! -e data ]; then \
	  if [ -n "$$(dvc remote list)" ]; then dvc pull data.dvc; \
	  else \
	    $(PYTHON) -m training.synthesize || exit 1; \
	    output=$$(dvc commit data.dvc 2>&1 </dev/null) || { echo "$$output" >&2; case "$$output" in *"changed stage"*) \
	        echo "data.dvc pins data other than the synthetic data, and no DVC remote is configured to pull them from" >&2;; esac; \
	      rm -rf data; exit 1; }; \
	  fi; \
	fi

COMPILE = $(UV) pip compile --quiet --upgrade --universal --python-version $(PYTHON_VERSION) --generate-hashes --no-header --no-annotate
# INSTALL folder locks options: an environment with exactly the packages of the hash-pinned files. Python compiles the
# modules that it imports, a small part of them, and keeps them: every make unsets PYTHONDONTWRITEBYTECODE.
define INSTALL
	$(UV) venv --quiet --allow-existing --python $(PYTHON_VERSION) $(1)
	$(UV) pip sync --quiet --require-hashes $(3) --build-constraints requirements.lock --python $(1)/bin/python $(2)
	@touch $(1)/.installed
endef

$(VENV)/.installed: requirements.lock requirements-model.lock | $(filter .uv/%,$(UV))
	$(call INSTALL,$(VENV),$^)

.venv-sam/.installed: requirements-sam.lock | $(filter .uv/%,$(UV))
	$(call INSTALL,.venv-sam,$<)

# Benchmarks time how services start from here, where an emulator of Lambda keeps no compiled modules.
.venv-runtime/.installed: requirements-runtime.lock | $(filter .uv/%,$(UV))
	$(call INSTALL,.venv-runtime,$<,--compile-bytecode)

.venv-lint/.installed: requirements-lint.lock | $(filter .uv/%,$(UV))
	$(call INSTALL,.venv-lint,$<)

.venv-automl/.installed: requirements-automl.lock | $(filter .uv/%,$(UV))
	$(call INSTALL,.venv-automl,$<)

# Only if uv is missing. Debian's python3 comes without pip, which is installed if the user is root.
.uv/bin/uv: requirements-uv.lock
	@for python in python3 /usr/bin/python3; do $$python -m pip --version >/dev/null 2>&1 && break; done; \
	if ! $$python -m pip --version >/dev/null 2>&1; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "python3 has no pip: installing Debian's python3-pip"; \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-pip || exit 1; python=/usr/bin/python3; \
	  else echo "uv is missing and python3 has no pip to install it with: install uv, or run 'apt-get install python3-pip'" >&2; exit 1; fi; \
	fi; \
	$$python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --upgrade --require-hashes --target .uv -r $<
	@touch $@

# Called by `sam build` (BuildMethod: makefile), which sets ARTIFACTS_DIR.
# The artifact holds the imported packages (of XGBoost only the C library and its OpenMP), the handler and the bundles.
# The .pyc files are hash-based: SAM's zip gives every file a timestamp of 1980, which would invalidate timestamp-based
# ones and make Lambda compile everything again at each cold start.
build-FraudFunction: | $(filter .uv/%,$(UV))
	@test -n "$$ARTIFACTS_DIR" || { echo "run 'make build': ARTIFACTS_DIR is set by sam build" >&2; exit 1; }
	@test "$$ARCHITECTURE" = "$${ARTIFACT_FOR:-x86_64}" || { echo "run 'make build ARCHITECTURE=$$ARCHITECTURE': sam build alone builds for x86_64" >&2; exit 1; }
	@ls $(PACKAGED)/*/manifest.json >/dev/null 2>&1 || { echo "$(PACKAGED) holds no bundle: run 'make train' first" >&2; exit 1; }
	$(UV) pip install --quiet --target "$$ARTIFACTS_DIR" --require-hashes --no-deps --only-binary :all: \
	  --python-platform $(subst arm64,aarch64,$(ARCHITECTURE))-manylinux_2_34 --python-version $(PYTHON_VERSION) \
	  --no-compile-bytecode --link-mode copy -r handler/requirements.txt
	find "$$ARTIFACTS_DIR/xgboost" -mindepth 1 -maxdepth 1 ! -name lib -exec rm -r {} +
	rm -rf "$$ARTIFACTS_DIR/bin" "$$ARTIFACTS_DIR/.lock"
	mkdir -p "$$ARTIFACTS_DIR/$(PACKAGED)"
	find handler -name "*.py" -exec cp --parents {} "$$ARTIFACTS_DIR" \;
	for name in $$($(PYTHON) -m training.declaration); do cp -R $(PACKAGED)/$$name "$$ARTIFACTS_DIR/$(PACKAGED)/" || exit 1; done
	$(PYTHON) -m compileall -q --invalidation-mode unchecked-hash -s "$$ARTIFACTS_DIR" -p /var/task "$$ARTIFACTS_DIR"
	@size=$$(du -sb "$$ARTIFACTS_DIR" | cut -f1); echo "artifact: $$((size / 1000000)).$$((size / 100000 % 10)) MB unzipped, of at most $(MAX_ARTIFACT_MB), for $$ARCHITECTURE"; \
	test $$size -le $(MAX_ARTIFACT_MB)000000 || { echo "the artifact is too large" >&2; exit 1; }
