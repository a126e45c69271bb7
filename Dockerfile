# The function under uvicorn, for machines that run containers: `make image` packs what `make build` built for Lambda.
#
# The tags below move with Debian's security updates. For a reproducible image, pin both by digest
# (FROM NAME:TAG@sha256:...), which `docker buildx imagetools inspect NAME:TAG` prints. Renew digests with each release.

FROM python:3.13-slim AS server
COPY requirements-image.lock /
# Of the SDK's 20 MB of service descriptions, only those stay that it needs to read a store in S3 and find credentials.
RUN pip install --quiet --no-cache-dir --no-compile --no-deps --only-binary :all: --require-hashes \
      --target /server --requirement /requirements-image.lock \
 && rm -r /server/bin \
 && find /server/botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name 'sso*' ! -name sts ! -name signin -exec rm -r {} + \
 && python -m compileall -q --invalidation-mode unchecked-hash -s /server -p /opt/python /server

# This image has Debian 13's CPython 3.13, glibc and libstdc++, but neither a shell nor a package manager. It takes 57
# MB, to which the server adds 29 MB and the artifact 39 MB. python:3.13-slim alone takes some 120 MB: too much to stay
# below 150 MB.
FROM gcr.io/distroless/python3-debian13:nonroot
COPY --from=server /server /opt/python
# The same path as in Lambda: the compiled modules name it in tracebacks.
COPY .aws-sam/build/FraudFunction /var/task
WORKDIR /var/task
ENV PYTHONPATH=/var/task:/opt/python PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYDANTIC_DISABLE_PLUGINS=__all__
USER 65532:65532
# An artifact for another processor, or one that this user may not read, fails here rather than in production.
RUN ["/usr/bin/python3", "-c", "import uvicorn, uvloop, httptools, boto3, handler.app"]
EXPOSE 8000
# Not with urllib, which would use a proxy that the environment names.
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 \
  CMD ["/usr/bin/python3", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8000, timeout=2); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]
# More options of uvicorn may follow the image's name: docker run ... fraud-scorer --workers 4
ENTRYPOINT ["/usr/bin/python3", "-m", "uvicorn", "handler.app:app", "--host", "0.0.0.0", "--port", "8000", "--no-access-log"]
