# drlbench with the pinned versions: docker build -t drlbench . && docker run --rm -v "$PWD/reports:/drlbench/reports" drlbench run digits
FROM python:3.11-slim
WORKDIR /drlbench
COPY . .
RUN pip install --no-cache-dir --constraint constraints.txt .
ENV OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
ENTRYPOINT ["drlbench"]
CMD ["--help"]
