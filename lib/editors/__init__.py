"""The editors: each method is one file or one folder, and EDITORS maps its name to its class."""

from __future__ import annotations

from .. import registry
from .alphaedit import AlphaEdit
from .crispedit import CrispEdit
from .emmet import Emmet
from .ft import Ft, FtL, FtM
from .grace.grace import Grace
from .horen.horen import Horen
from .lemoe.lemoe import Lemoe
from .lora import Lora
from .malmen import Malmen
from .memit import Memit, NormAnchor
from .memoir.memoir import Memoir
from .mend import Mend
from .pmet import Pmet
from .prune import Prune
from .rect import Rect
from .retrieval.retrieval import Retrieval
from .rledit import RLEdit
from .rome import Rome
from .sdf import Sdf
from .shared.base import Editor
from .steer import Steer
from .ultraedit import UltraEdit
from .wilke import Wilke
from .wise.wise import Wise

registry.EDITORS.update(
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
        CrispEdit,
        Lora,
        Sdf,
        Retrieval,
        Grace,
        Horen,
        Wise,
        Lemoe,
        Memoir,
        Steer,
    )
)
EDITORS: dict[str, type[Editor]] = registry.EDITORS
