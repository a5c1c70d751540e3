# MLflow for a team: PostgreSQL for what is recorded, an object store for files, a password for everybody.
# NOT RUN: no Docker engine was at hand. tests/test_cluster_files.py checks the instructions and runs the commands without it.
#
#   docker build -f docker/mlflow.Dockerfile -t pbt-disent-mlflow:0.1.0 .
FROM python:3.11.14-slim-bookworm
COPY constraints.txt /tmp/constraints.txt
RUN pip install --no-cache-dir --disable-pip-version-check -c /tmp/constraints.txt \
    'mlflow==3.17.2' 'Flask-WTF==1.3.0' 'psycopg2-binary==2.9.13' 'boto3==1.44.5'
RUN useradd --create-home --uid 1000 mlflow
ENV MLFLOW_DISABLE_TELEMETRY=true
USER 1000:1000
WORKDIR /home/mlflow
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5000/health', timeout=5)"]
CMD ["mlflow", "server", "--help"]
