"""Compiles kernels/*.cu and kernels/faults/*.cu to the PTX beside them. Deterministic; the PTX is checked in.
Files of kernels/refused/ must not compile.

    pip install --no-deps --target .venv/nvrtc nvidia-cuda-nvrtc-cu12==12.1.105
    python tests/ptx/kernels/make.py --nvrtc .venv/nvrtc/nvidia/cuda_nvrtc/lib/libnvrtc.so.12 [--check]
"""
import argparse
import ctypes
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
# Tensor cores with bf16 and cp.async came with sm_80; all else runs on what planish's kernels are compiled for.
TARGETS = {"tensor": "compute_80", "async_unwaited": "compute_80", "async_overwritten": "compute_80"}


def compile(lib, source):
    """PTX, or nothing and the compiler's log."""
    log_size = ctypes.c_size_t()
    program = ctypes.c_void_p()
    code = source.read_bytes()
    assert lib.nvrtcCreateProgram(ctypes.byref(program), code, source.name.encode(), 0, None, None) == 0
    options = [
        f"--gpu-architecture={TARGETS.get(source.stem, 'compute_70')}".encode(),
        b"--fmad=false",
        f"-I{HERE}".encode(),
    ]
    rc = lib.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    if rc:
        lib.nvrtcGetProgramLogSize(program, ctypes.byref(log_size))
        log = ctypes.create_string_buffer(log_size.value)
        lib.nvrtcGetProgramLog(program, log)
        return None, log.value.decode()
    lib.nvrtcGetPTXSize(program, ctypes.byref(log_size))
    ptx = ctypes.create_string_buffer(log_size.value)
    lib.nvrtcGetPTX(program, ptx)
    return ptx.value, ""


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--nvrtc", required=True)
    args.add_argument("--check", action="store_true", help="compare instead of writing")
    args = args.parse_args()
    lib = ctypes.CDLL(args.nvrtc)
    stale = []
    for source in sorted([*HERE.glob("*.cu"), *HERE.glob("faults/*.cu")]):
        (ptx, log), out = compile(lib, source), source.with_suffix(".ptx")
        if ptx is None:
            sys.exit(f"{source}: {log}")
        if not args.check:
            out.write_bytes(ptx)
        elif not out.exists() or out.read_bytes() != ptx:
            stale.append(str(out))
    for source in HERE.glob("refused/*.cu"):
        if compile(lib, source)[0] is not None:
            sys.exit(f"{source} compiles, and should not")
    if stale:
        sys.exit("stale: " + " ".join(stale))


main()
