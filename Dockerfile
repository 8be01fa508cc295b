# The package for CPUs, with all commands on the path. Not built here.
#   docker build --tag=tf_dvdgan . && docker run --rm tf_dvdgan tf_dvdgan_demo --help
FROM python:3.11-slim
WORKDIR /opt/tf_dvdgan
COPY . .
RUN pip install --no-cache-dir --constraint constraints.txt .
WORKDIR /work
CMD ["tf_dvdgan", "--help"]
