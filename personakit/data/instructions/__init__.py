"""Instruction data: what is asked and answered, and the prompts to pick from (docs/data.md, PILLOW).

Start at `open_instructions`, which gives the instructions of a split, and `open_pool`, which gives prompts.
"""

from personakit.data.instructions.detect import INSTRUCTION_FORMATS, detect
from personakit.data.instructions.importing import InstructionReport, import_instructions
from personakit.data.instructions.leaks import leaking_prompts
from personakit.data.instructions.native import write_instructions
from personakit.data.instructions.pools import OpenedPool, check_pool, open_pool, read_pool
from personakit.data.instructions.store import InstructionStore, instruction_files, open_instructions
from personakit.data.instructions.tasks import profile_pool, task_instruction

__all__ = [
    "INSTRUCTION_FORMATS",
    "InstructionReport",
    "InstructionStore",
    "OpenedPool",
    "check_pool",
    "detect",
    "import_instructions",
    "instruction_files",
    "leaking_prompts",
    "open_instructions",
    "open_pool",
    "profile_pool",
    "read_pool",
    "task_instruction",
    "write_instructions",
]
