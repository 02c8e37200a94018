# The trainer's image. `make image` builds it; docs/image.md tells what it weighs and how it is measured.
#
#   LOCK=gpu     TensorFlow with CUDA, and CUDA's libraries (requirements/gpu.lock)
#   BASE         another base, Debian 12 with Python 3.11: a mirror, or, without a digest, one that was made on this machine
#   VERSION, REVISION, SOURCE   labels
#
# A package index of your own: --secret id=pip,src=/etc/pip.conf

# The digest is that of an index of platforms, amd64 and arm64 among them. `make base-digest` renews it.
ARG BASE=docker.io/library/python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE} AS packages
ARG LOCK=cpu
# Byte code depends on hashes, and on the files compiled before by the same process: one process, and always one seed.
ENV PYTHONHASHSEED=0 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements/${LOCK}.lock /build/packages.lock
COPY requirements/prune.py /build/
# Byte code is compiled here, for a read-only root cannot, and is never compared with its source again.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python -m venv --without-pip /opt/kfit \
 && pip --python /opt/kfit/bin/python install --no-compile --require-hashes --requirement /build/packages.lock \
 && python /build/prune.py /opt/kfit/lib/python3.11/site-packages \
 && python -m compileall -q --invalidation-mode unchecked-hash /opt/kfit

FROM packages AS code
COPY requirements/build.lock /build/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install --no-compile --require-hashes --requirement /build/build.lock
COPY pyproject.toml README.md LICENSE /build/
COPY charts /build/charts
COPY trainer /build/trainer
COPY k8s /build/k8s
RUN pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /build/wheel /build \
 && pip --python /opt/kfit/bin/python install --no-deps --no-index --no-compile --prefix /code /build/wheel/*.whl \
 && python -m compileall -q --invalidation-mode unchecked-hash /code \
 && PYTHONPATH=/code/lib/python3.11/site-packages cyclonedx-py environment --output-reproducible \
      --output-file /code/kfit.cdx.json /opt/kfit/bin/python

FROM ${BASE}
# Not useradd: it writes today's date.
RUN echo 'kfit:x:10001:10001::/tmp:/usr/sbin/nologin' >>/etc/passwd && echo 'kfit:x:10001:' >>/etc/group
# What of NVIDIA's driver is brought into the container, where a GPU is. Which GPUs is not an image's to say.
ENV PATH=/opt/kfit/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=packages /opt/kfit /opt/kfit
# Last, and small: a change of our code is a pull of this layer alone.
COPY --from=code /code /opt/kfit
ARG BASE
ARG VERSION=dev
ARG REVISION=unknown
ARG SOURCE=
LABEL org.opencontainers.image.title="kfit trainer" \
      org.opencontainers.image.description="Keras model.fit as a batch job: Parquet in, a servable model out" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${BASE}"
USER 10001:10001
ENTRYPOINT ["trainer"]
CMD ["--help"]
