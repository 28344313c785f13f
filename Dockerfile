# The toy profile in a container; its report is at reports/smoke/index.html:
#   docker build --tag otoc . && docker run --name otoc otoc && docker cp otoc:/home/otoc/kit/reports/smoke reports/
# "--build-arg PIP_EXTRA_INDEX_URL=..." with PyTorch's CPU wheels saves several GB. "docker run otoc make reproduce" is the
# reference run.
FROM python:3.11-slim-bookworm AS base
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --shell /bin/bash otoc
USER otoc

FROM base
WORKDIR /home/otoc/kit
ARG PIP_EXTRA_INDEX_URL=
# First what says what to install: other changes leave the layer of the packages alone.
COPY --chown=otoc Makefile pyproject.toml constraints.txt README.md LICENSE ./
COPY --chown=otoc otoc_lib/__init__.py otoc_lib/
COPY --chown=otoc room_factory/__init__.py room_factory/
RUN make .venv/.installed
COPY --chown=otoc . .
CMD ["make", "reproduce", "PROFILE=smoke"]
