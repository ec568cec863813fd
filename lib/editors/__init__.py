"""One file per method; EDITORS maps a method's name to its class."""

from __future__ import annotations

from ..editor import Editor
from ..errors import EditError
from .alphaedit import AlphaEdit
from .emmet import Emmet
from .ft import Ft, FtL, FtM
from .grace import Grace
from .lemoe import Lemoe
from .lora import Lora
from .malmen import Malmen
from .memit import Memit, NormAnchor
from .memoir import Memoir
from .mend import Mend
from .pmet import Pmet
from .prune import Prune
from .rect import Rect
from .retrieval import Retrieval
from .rledit import RLEdit
from .rome import Rome
from .ultraedit import UltraEdit
from .wilke import Wilke
from .wise import Wise


class _Editors(dict[str, type[Editor]]):
    """Name -> class; an unknown name is a sentence that lists the known ones."""

    def __missing__(self, name: str) -> type[Editor]:
        raise EditError(f"there is no editor '{name}'; there are {', '.join(sorted(self))}")


EDITORS = _Editors(
    (editor.name, editor)
    for editor in (
        Rome,
        Wilke,
        Memit,
        NormAnchor,
        Emmet,
        AlphaEdit,
        Pmet,
        Rect,
        Prune,
        UltraEdit,
        Mend,
        Malmen,
        RLEdit,
        Ft,
        FtL,
        FtM,
        Lora,
        Retrieval,
        Grace,
        Wise,
        Lemoe,
        Memoir,
    )
)
