# The package for CPUs, with all commands on the path. Not built here.
#   docker build --tag=tf_dvdgan . && docker run --rm tf_dvdgan tf_dvdgan_demo --help
FROM python:3.11-slim
WORKDIR /opt/tf_dvdgan
COPY . .
# The file also has what only tests need; pip takes hashes for all packages or for none.
RUN pip install --no-cache-dir --require-hashes --requirement constraints/tensorflow2.15.txt \
    && pip install --no-cache-dir --no-deps --no-build-isolation .
WORKDIR /work
CMD ["tf_dvdgan", "--help"]
