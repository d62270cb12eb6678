# The service and one bundle; nothing of training. Build it with `make image`, or:
#   docker build --build-arg BUNDLE=runs/<id>/export/bundle -t slipway .
FROM python:3.13-slim AS build
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY serving serving
RUN python -m venv /opt/slipway \
 && /opt/slipway/bin/pip install --no-cache-dir --no-compile -c constraints.txt '.[serve]' \
 && rm /opt/slipway/bin/slipway

FROM python:3.13-slim
ENV PATH=/opt/slipway/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=build /opt/slipway /opt/slipway
ARG BUNDLE
COPY ${BUNDLE} /bundle
RUN useradd --system --uid 10001 --no-create-home slipway
USER 10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/readyz', timeout=2)"]
ENTRYPOINT ["python", "-m", "serving", "--bundle", "/bundle", "--host", "0.0.0.0", "--port", "8080"]
