# avloc with the versions of constraints.txt, with which the README's numbers were made.
#   docker build --tag avloc .
#   docker run --rm --volume "$PWD:/data" avloc localize --example --out first
FROM python:3.11-slim
WORKDIR /opt/avloc
COPY . .
RUN pip install --no-cache-dir --constraint constraints.txt '.[web]'
WORKDIR /data
ENTRYPOINT ["avloc"]
CMD ["--help"]
