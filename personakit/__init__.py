"""personakit: train, evaluate and run personalised language models with RPO, POPI and PILLOW.

The library is what `__all__` names, each imported when it is first used; `__init__.pyi` has the types.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_MODULES = {
    "personakit.api": ("evaluate",),
    "personakit.contracts": ("Personalizer",),
    "personakit.methods": ("open_run",),
    "personakit.methods.training": ("train",),
    "personakit.records": (
        "Answer",
        "Context",
        "Example",
        "Instruction",
        "PreferencePair",
        "Profile",
        "ProfileItem",
        "Query",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
