# syntax=docker/dockerfile:1
# An app with its models inside: fetched through a mirror while the image is built, and never again. Copy it,
# and put your requirements.txt and models.py beside it; docs/containers.md has lines for models.py.
#
#   docker build -f app.Dockerfile --network host --build-arg HF_ENDPOINT=http://127.0.0.1:8090 -t app .
#   docker build -f app.Dockerfile --add-host host.docker.internal:host-gateway \
#       --build-arg HF_ENDPOINT=http://host.docker.internal:8090 -t app .
#
# The image does not know the mirror. Its address is an ARG, never an ENV, which containers would inherit; and
# an ARG of another stage than the last, for the history of an image repeats the values that a RUN has seen.
ARG BASE=docker.io/library/python:3.13-slim

FROM ${BASE} AS packages
RUN python3 -m venv /opt/app
ENV PATH=/opt/app/bin:/usr/local/bin:/usr/bin:/bin
WORKDIR /app
COPY requirements.txt ./
RUN pip install --quiet --no-cache-dir --disable-pip-version-check --requirement requirements.txt

# The start-up hook, for clients that have no setting for a mirror: Whisper, torch, TF Hub, spaCy, Pix2Text.
FROM packages AS hook
ARG HF_ENDPOINT
WORKDIR /hook
RUN python3 -c "import os, urllib.request as u; [u.urlretrieve(os.environ['HF_ENDPOINT'] + '/-/hook/' + f, f) \
    for f in ('modelmirror_hook.py', 'sitecustomize.py')]"

# What is downloaded here lands in /models, and spaCy's models, which are packages, in /opt/app. Strict: a host of
# models is asked by way of the mirror or not at all. For gated models: --secret id=hf_token,src=FILE
FROM packages AS models
ARG HF_ENDPOINT
WORKDIR /app
COPY models.py ./
RUN --mount=type=bind,from=hook,source=/hook,target=/hook \
    --mount=type=secret,id=hf_token \
    HF_TOKEN_PATH=/run/secrets/hf_token XDG_CACHE_HOME=/models TFHUB_CACHE_DIR=/models/tfhub \
    PIX2TEXT_HOME=/models/pix2text \
    PYTHONPATH=/hook MODELMIRROR_URL="${HF_ENDPOINT}" MODELMIRROR_STRICT=1 python3 models.py

FROM ${BASE}
COPY --from=models /opt/app /opt/app
COPY --from=models /models /models
# From here on nothing is downloaded: what is not inside is an error at once.
ENV PATH=/opt/app/bin:/usr/local/bin:/usr/bin:/bin \
    XDG_CACHE_HOME=/models \
    TFHUB_CACHE_DIR=/models/tfhub \
    PIX2TEXT_HOME=/models/pix2text \
    HF_HUB_OFFLINE=1
USER 10001:10001
CMD ["python3"]
