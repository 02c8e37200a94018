# The trainer's image. `make image` builds it; docs/image.md tells what it weighs and how it is measured.
#
#   LOCK=gpu     TensorFlow with CUDA's libraries (requirements/gpu.lock)
#   VERSION, REVISION, SOURCE   labels
#
# A package index of your own: --secret id=pip,src=/etc/pip.conf

FROM docker.io/library/python:3.11-slim-bookworm AS packages
ARG LOCK=train
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements/${LOCK}.lock /build/packages.lock
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python -m venv --without-pip /opt/kfit \
 && pip --python /opt/kfit/bin/python install --no-compile --require-hashes --requirement /build/packages.lock
# Headers, sources, static libraries and clang are for compiling against TensorFlow; tests are for its makers.
# Byte code is compiled here, for a read-only root cannot, and is never compared with its source again.
WORKDIR /opt/kfit/lib/python3.11/site-packages
RUN rm -r clang tensorflow/include tensorflow/xla_aot_runtime_src pyarrow/include \
 && find . -name '*.a' -delete \
 && find numpy pyarrow -type d -name tests -prune -exec rm -r {} + \
 && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/kfit

FROM packages AS code
COPY requirements/build.lock /build/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install --require-hashes --requirement /build/build.lock
COPY pyproject.toml README.md LICENSE /build/
COPY charts /build/charts
COPY trainer /build/trainer
COPY k8s /build/k8s
RUN pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /build/wheel /build \
 && pip --python /opt/kfit/bin/python install --no-deps --no-index --no-compile --prefix /code /build/wheel/*.whl \
 && python -m compileall -q --invalidation-mode unchecked-hash /code

FROM docker.io/library/python:3.11-slim-bookworm
RUN groupadd --gid 10001 kfit \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin kfit
ENV PATH=/opt/kfit/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=packages /opt/kfit /opt/kfit
# Last, and small: a change of our code is a pull of this layer alone.
COPY --from=code /code /opt/kfit
ARG VERSION=dev
ARG REVISION=unknown
ARG SOURCE=
LABEL org.opencontainers.image.title="kfit trainer" \
      org.opencontainers.image.description="Keras model.fit as a batch job: Parquet in, a servable model out" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm"
USER 10001:10001
ENTRYPOINT ["trainer"]
CMD ["--help"]
