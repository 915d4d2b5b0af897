"""Empty modules in place of packages that a library imports and that nothing here calls."""

import importlib.abc
import importlib.machinery
import sys
import types


class _Endless(type):
    """Classes whose every attribute is another empty class, good for base classes and defaults."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Endless(name, (), {})


class _Empty(types.ModuleType):
    __path__ = ()

    def __getattr__(self, name):
        return getattr(_Endless(self.__name__, (), {}), name)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, packages):
        self.packages = packages

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.packages:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return _Empty(spec.name)

    def exec_module(self, module):
        pass


def stand_in(*packages: str) -> None:
    """Let `import <package>` and its submodules succeed, empty, where it is not installed.

    A package that is installed is found before its stand-in.
    """
    sys.meta_path.append(_Finder(packages))
