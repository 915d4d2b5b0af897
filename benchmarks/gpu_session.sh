#!/bin/bash
# The calls of docs/gpu_session.md, on a machine with a GPU and no network: bash benchmarks/gpu_session.sh 1|2|3
set -u
cd "$(dirname "$0")/.."
work=$(mktemp -d)
out=${OUT:-$work/out} kept=$work/measured/$1 limit=${LIMIT:-560} python=${PYTHON:-python3}
mkdir -p "$out" "$kept"
export PYTHONPATH=$work/site:$PWD/src:$PWD PYTHONUNBUFFERED=1 PARASPIKE_PROGRESS=0 PARASPIKE_DATA=$work/data
PARASPIKE_COMMIT=$(cat .whl/COMMIT) && export PARASPIKE_COMMIT
export OMP_NUM_THREADS=8 MKL_NUM_THREADS=8 NUMBA_NUM_THREADS=8 PARASPIKE_THREADS=8

# step SECONDS WORD...: runs them, no longer than that and than the call has left, and packs what there is.
step() {
    local most=$1 left=$((limit - SECONDS)) status
    shift
    [ $((left < most ? left : most)) -gt 15 ] || { echo "== no time left for: $*"; return; }
    echo "== ${SECONDS} s: $*"
    timeout $((left < most ? left : most)) "$@" 2>&1 | tee -a "$kept/log.txt"
    status=${PIPESTATUS[0]}
    [ "$status" = 0 ] || echo "== status $status (124: time was up)" | tee -a "$kept/log.txt"
    tar czf "$work/measured.tgz" -C "$work/measured" . && mv "$work/measured.tgz" "$out/measured.tgz"
}

step 60 "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade \
    --target "$work/site" .whl/*.whl
step 20 nvidia-smi --query-gpu=name,driver_version,clocks.sm,temperature.gpu --format=csv,noheader
case $1 in
1)
    step 230 env OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1 PARASPIKE_THREADS=1 \
        "$python" -m pytest -q -n 8 --dist loadfile -rfE --tb=short --maxfail=60 tests/test_backends.py \
        $(find tests -name 'test_*cuda*.py' | sort)
    step 80 "$python" -m benchmarks.cuda layer --seconds 60 --output "$kept"
    step 300 "$python" -m benchmarks.cuda_tables --seconds 225 --output "$kept"
    ;;
2)
    step 230 "$python" -m benchmarks.cuda networks --no-compile --seconds 180 --output "$kept"
    step 260 "$python" -m benchmarks.cuda figure5 --seconds 180 --output "$kept"
    step 90 "$python" -m paraspike.papers.spsn duration lengths=100,300,1000,3000,10000 repeats=10 scale=paper \
        --backend cuda --output "$kept/duration.nc"
    step 300 "$python" -m benchmarks.cuda networks --words w2-500 --seconds 60 --output "$kept/compiled"
    ;;
3)
    for split in train test; do
        step 120 "$python" -m benchmarks.pack_shd unpack ".shd/shd_$split.npz" "$work/data/shd/shd_$split.h5"
    done
    step 430 "$python" -m benchmarks.cuda table2 --epochs 10 --seconds 350 --precision "${PRECISION:-float32}" \
        --output "$kept"
    step 150 "$python" -m paraspike.papers.spsn epoch_time dataset=shd allow_unverified_data=true \
        train_samples=1024 dt=0.001 repeats=2 scale=paper --backend cuda --output "$kept/epoch_time.nc"
    ;;
esac
echo "== ${SECONDS} s"
