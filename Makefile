# Two commands: `make run` sets everything up and serves; `make test` sets up and passes the tests.
# A fresh machine needs Python 3.11+, a C/C++ compiler and make. The rest comes from uv.lock.

# Unless told otherwise: the kernels that are there.
KERNELS ?= $(or $(firstword $(patsubst .venv/.ready-%,%,$(filter-out %-dev,$(wildcard .venv/.ready-*)))),cpu)
ARGS ?=
UV_VERSION := 0.13.9
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
READY := .venv/.ready-$(KERNELS)
# Our parts of the kernels. uv builds a wheel again when its settings change: the sum is one of them.
PATCH := kernels/patches.cmake $(sort $(wildcard kernels/attention* kernels/matmul*))
PATCH_SUM := $(shell cat $(PATCH) | cksum | cut -d ' ' -f 1)
SETTING := --config-settings-package llama-cpp-python:cmake.define

# What each kind of kernels adds to the flags in pyproject.toml.
FLAGS_cpu :=
FLAGS_cuda := GGML_CUDA
FLAGS_vulkan := GGML_VULKAN
FLAGS_metal := GGML_METAL
FLAGS_rocm := GGML_HIP
ifeq ($(origin FLAGS_$(KERNELS)),undefined)
$(error KERNELS=$(KERNELS) is not known: use cpu, cuda, vulkan, metal or rocm)
endif

.PHONY: run test setup clean kernels-portable

run: $(READY)
	@.venv/bin/ai-assistant serve $(ARGS)

test: $(READY) .venv/.ready-dev
	@. .venv/bin/activate && just check

setup: $(READY)

# The kernels are built once for this machine (minutes); afterwards this rule does nothing.
$(READY): pyproject.toml uv.lock $(PATCH) | $(UV)
	@echo "Setting up (the first time this compiles the $(KERNELS) kernels for this machine: some minutes)"
	@if [ -d .venv ] && [ "$$(cat .venv/.kernels 2>/dev/null)" != "$(KERNELS) $(PATCH_SUM)" ]; then rm -f .venv/.ready-*; again="--reinstall-package llama-cpp-python"; fi; \
	$(UV) sync --frozen --inexact --no-dev $$again \
		$(SETTING).CMAKE_PROJECT_llama_cpp_INCLUDE="$(CURDIR)/kernels/patches.cmake" \
		$(SETTING).AI_ASSISTANT_PATCH=$(PATCH_SUM) \
		$(if $(FLAGS_$(KERNELS)),$(SETTING).$(FLAGS_$(KERNELS))=ON)
	@echo "$(KERNELS) $(PATCH_SUM)" > .venv/.kernels
	@touch $@

.venv/.ready-dev: pyproject.toml uv.lock $(READY)
	@$(UV) sync --frozen --inexact --no-install-package llama-cpp-python
	@touch $@

.uv/bin/uv:
	@python3 -m venv .uv || { echo "Python's venv module is missing: install it (Debian: apt install python3-venv)"; exit 1; }
	@.uv/bin/pip install --quiet uv==$(UV_VERSION)

# A wheel of the kernels for any CPU of this architecture: docs/old-machines.md
kernels-portable: | $(UV)
	@echo "Compiling the kernels for every kind of CPU (a quarter of an hour on two cores)"
	@sh kernels/portable.sh dist/kernels $(UV)

clean:
	rm -rf .venv .uv .bench build dist
