# pbt-disent on NVIDIA GPUs: the workers of a cluster. PyTorch's wheels carry CUDA; the host has the driver alone.
# NOT RUN: no Docker engine was at hand. tests/test_cluster_files.py checks the instructions and runs the commands without it.
#
#   docker build -f docker/cuda.Dockerfile -t pbt-disent:0.1.0-cuda .
ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/pbt-disent
WORKDIR /source
COPY constraints.txt ./
RUN /opt/pbt-disent/bin/pip install -c constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY pbt_disent ./pbt_disent
RUN /opt/pbt-disent/bin/pip install -c constraints.txt '.[cluster]'

FROM python:${PYTHON}
# KubeRay's probes fetch with wget.
RUN apt-get update && apt-get install -y --no-install-recommends wget && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 pbt && mkdir /shared && chown pbt:pbt /shared
COPY --from=build /opt/pbt-disent /opt/pbt-disent
ENV PATH=/opt/pbt-disent/bin:$PATH RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 MLFLOW_DISABLE_TELEMETRY=true
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:1000
WORKDIR /home/pbt
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s CMD ["pbt-disent", "--version"]
ENTRYPOINT []
CMD ["pbt-disent", "--help"]
