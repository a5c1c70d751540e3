# pbt-disent on CPUs: head, workers, and a laptop's `pbt-disent run`.
# NOT RUN: no Docker engine was at hand. tests/test_cluster_files.py checks the instructions and runs the commands without it.
#
#   docker build -f docker/cpu.Dockerfile -t pbt-disent:0.1.0-cpu .
ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/pbt-disent
WORKDIR /source
COPY constraints.txt ./
RUN /opt/pbt-disent/bin/pip install -c constraints.txt torch --index-url https://download.pytorch.org/whl/cpu
COPY pyproject.toml README.md LICENSE ./
COPY pbt_disent ./pbt_disent
RUN /opt/pbt-disent/bin/pip install -c constraints.txt '.[cluster]'

FROM python:${PYTHON}
# KubeRay's probes fetch with wget.
RUN apt-get update && apt-get install -y --no-install-recommends wget && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 pbt && mkdir /shared && chown pbt:pbt /shared
COPY --from=build /opt/pbt-disent /opt/pbt-disent
ENV PATH=/opt/pbt-disent/bin:$PATH RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 MLFLOW_DISABLE_TELEMETRY=true
USER 1000:1000
WORKDIR /home/pbt
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s CMD ["pbt-disent", "--version"]
ENTRYPOINT []
CMD ["pbt-disent", "--help"]
