"""What this machine can do at most: fp32 operations a second, and bytes copied a second.

The peak is that of a loop of fused multiply–adds on registers, where there is a C compiler; else that of the best of
oneDNN's 3×3 convolution and the matrix product, which reach about nine tenths of it.
"""

import ctypes
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_LOOP = """
typedef float vector __attribute__((vector_size(64)));
float fma_loop(long n) {
    vector a[12], factor, shift, sum;
    for (int j = 0; j < 16; j++) { factor[j] = 0.999f; shift[j] = 0.001f; sum[j] = 0.0f; }
    for (int i = 0; i < 12; i++) for (int j = 0; j < 16; j++) a[i][j] = 0.1f * i + 0.01f * j;
    for (long step = 0; step < n; step++)
        for (int i = 0; i < 12; i++) a[i] = a[i] * factor + shift;
    for (int i = 0; i < 12; i++) sum += a[i];
    return sum[0] + sum[7] + sum[15];
}
"""
_FLOPS_A_STEP = 12 * 16 * 2
_N_TRIES = 5


def machine_limits(n_threads):
    """Measure the peak, a matrix product, and a copy.

    Arguments
    ---------
    n_threads : int

    Returns
    -------
    dict
        ``peak_gflops``, ``peak_by``, ``gemm_gflops``, ``conv_gflops``, ``copy_gb_per_s`` (bytes read and written).
    """
    import torch

    torch.set_num_threads(n_threads)
    matrix = torch.randn(2048, 2048)
    product = torch.empty_like(matrix)
    gemm = _best(lambda: torch.mm(matrix, matrix, out=product), 2 * 2048**3)
    channels_last = {"memory_format": torch.channels_last}
    image, kernel = torch.randn(1, 256, 56, 56).to(**channels_last), torch.randn(256, 256, 3, 3).to(**channels_last)
    with torch.no_grad():
        conv = _best(lambda: torch.nn.functional.conv2d(image, kernel, padding=1), 2 * 9 * 256 * 256 * 56 * 56)
    source = torch.zeros(64 * 2**20)
    target = torch.empty_like(source)
    copied = _best(lambda: target.copy_(source), 2 * 4 * source.numel())
    loop = _loop_gflops(n_threads)
    by = {"a loop of fused multiply-adds": loop, "3x3 convolution": conv, "matrix product": gemm}
    peak_by = "a loop of fused multiply-adds" if loop else max(by, key=by.get)
    return {
        "peak_gflops": by[peak_by],
        "peak_by": peak_by,
        "gemm_gflops": gemm,
        "conv_gflops": conv,
        "copy_gb_per_s": copied,
    }


def _best(work, amount):
    """Amount a second of the quickest of a few calls, in units of 10⁹."""
    work()
    seconds = []
    for _ in range(_N_TRIES):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return 1e-9 * amount / min(seconds)


def _loop_gflops(n_threads):
    """The peak by the loop on every thread at once; 0 without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return 0.0
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "loop.c", Path(folder) / "loop.so"
        source.write_text(_LOOP, encoding="utf-8")
        command = [compiler, "-O3", "-march=native", "-shared", "-fPIC", str(source), "-o", str(library)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return 0.0
        loop = ctypes.CDLL(str(library)).fma_loop
        loop.argtypes, loop.restype = [ctypes.c_long], ctypes.c_float
        n_steps = 10_000_000
        with ThreadPoolExecutor(n_threads) as pool:  # ctypes gives the interpreter's lock away
            return _best(lambda: list(pool.map(loop, [n_steps] * n_threads)), n_threads * n_steps * _FLOPS_A_STEP)
