"""requirements/prune.py: what compiling and testing need goes, what training needs stays."""

from __future__ import annotations

import importlib.metadata

import pytest

from tests.image import platforms

FILES = {
    "clang/cindex.py": False,
    "tensorflow/include/tensorflow/core/framework/tensor.h": False,
    "tensorflow/include/google/protobuf/any.proto": False,
    "tensorflow/xla_aot_runtime_src/CMakeLists.txt": False,
    "tensorflow/libtensorflow_cc.so.2": True,
    "tensorflow/python/framework/ops.py": True,
    "tensorflow/python/ops/include_something.py": True,
    "numpy/_core/include/numpy/ndarraytypes.h": False,
    "numpy/_core/include/numpy/random/LICENSE.txt": False,
    "numpy/_core/lib/libnpymath.a": False,
    "numpy/tests/test_lazyloading.py": False,
    "numpy/ma/tests/test_core.py": False,
    "numpy/testing/__init__.py": True,
    "pyarrow/includes/__init__.pxd": False,
    "pyarrow/_parquet.pyx": False,
    "pyarrow/libarrow.so.2600": True,
    "nvidia/cudnn/include/cudnn.h": False,
    "nvidia/cudnn/lib/libcudnn.so.9": True,
    "nvidia/cuda_nvcc/nvvm/libdevice/libdevice.10.bc": True,
    "numpy-2.4.6.dist-info/licenses/numpy/_core/include/numpy/libdivide/LICENSE.txt": True,
    "cffi-2.0.0.dist-info/licenses/a.c": True,
}


def test_it_deletes_the_needless_and_the_folders_left_empty(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("12345")
    freed = platforms.PRUNE["prune"](tmp_path)
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {name for name, stays in FILES.items() if stays}
    assert freed == 5 * (len(FILES) - len(left))
    assert not [p for p in tmp_path.rglob("*") if p.is_dir() and not any(p.iterdir())]


@pytest.mark.parametrize("package", ["tensorflow", "keras", "numpy", "pyarrow", "h5py", "grpcio", "kubernetes"])
def test_nothing_that_is_imported_is_needless(package):
    """Over the files of the packages that are installed here."""
    files = [f.as_posix() for f in importlib.metadata.files(package) or [] if f.parts[0] != ".."]
    gone = [f for f in files if platforms.PRUNE["is_needless"](f)]
    assert [f for f in gone if f.endswith((".py", ".so", ".json")) and "/tests/" not in f] == []


def test_a_lock_is_read_for_the_machine_that_the_image_is_for():
    lock = (
        "a==1 ; platform_machine == 'x86_64' \\\n    --hash=sha256:aa\n    # via b\n"
        "b==2 ; platform_machine != 'x86_64' \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n"
        "c==3 ; sys_platform == 'win32' \\\n    --hash=sha256:dd\nd==4 \\\n    --hash=sha256:ee\n    # via\n    #   a\n"
    )
    assert platforms.locked(lock, "x86_64") == ["a==1 --hash=sha256:aa", "d==4 --hash=sha256:ee"]
    assert platforms.locked(lock, "aarch64")[0] == "b==2 --hash=sha256:bb --hash=sha256:cc"
