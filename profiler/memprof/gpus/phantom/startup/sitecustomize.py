"""What each Python process of `memprof run` does when it first uses CUDA.

With `--snapshot` it records the allocator's history, and writes it at the end. With `--values cpu` the CPU computes
values.

Python imports a module of this name when it starts, see docs.python.org/3/library/site.html. `memprof run` puts the
folder of this file in front of PYTHONPATH. PyTorch is not changed: its own functions are called once CUDA is in use.
The module has no annotations to import, since the program's Python may be an older one than memprof's.
"""

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.util import find_spec

_FOLDER = "MEMPROF_SNAPSHOTS"
_VALUES = "MEMPROF_VALUES"


class _PrepareAfterImport(MetaPathFinder):
    """Lets the import of torch.cuda end with requests for the time when CUDA is initialized."""

    def find_spec(self, fullname, path, target=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        if fullname != "torch.cuda":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            loader, execute = spec.loader, spec.loader.exec_module

            def execute_and_prepare(module):  # type: ignore[no-untyped-def]
                execute(module)
                if os.path.isdir(os.environ.get(_FOLDER, "")):
                    module._lazy_call(_record)
                if os.environ.get(_VALUES) == "cpu":
                    module._lazy_call(_compute_values)

            loader.exec_module = execute_and_prepare  # type: ignore[method-assign]
        return spec


def _record() -> None:
    from multiprocessing.util import Finalize

    import torch

    torch.cuda.memory._record_memory_history(stacks="python")
    # Unlike atexit, this also runs in processes that multiprocessing starts.
    Finalize(None, _dump, exitpriority=0)


def _dump() -> None:
    import torch

    file = os.path.join(os.environ[_FOLDER], f"{os.getpid()}.pickle")
    torch.cuda.memory._dump_snapshot(file)  # type: ignore[no-untyped-call]


def _compute_values() -> None:
    """Enter the dispatch mode of the package `values`, which may not be importable in the program's environment."""
    from importlib.util import module_from_spec, spec_from_file_location

    folder = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "values")
    spec = spec_from_file_location(
        "memprof_values", os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None
    assert spec.loader is not None
    package = module_from_spec(spec)
    sys.modules[spec.name] = package
    spec.loader.exec_module(package)
    package.compute_until_exit()


def _import_hidden() -> None:
    """Import the module of the same name that this one hides, if there is one."""
    own = sys.modules.pop(__name__)
    here = os.path.dirname(os.path.realpath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.realpath(path) != here]
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != __name__:
            raise
    finally:
        sys.modules.setdefault(__name__, own)


if os.path.isdir(os.environ.get(_FOLDER, "")) or os.environ.get(_VALUES) == "cpu":
    sys.meta_path.insert(0, _PrepareAfterImport())
_import_hidden()
