"""The environment variables that `accelerate launch` sets."""

from __future__ import annotations

from personakit.config import launch_files


def launch_environment(name: str, *, deepspeed: bool = False) -> dict[str, str]:
    """Return the environment variables of `accelerate launch --config_file NAME`."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    words = ["--config_file", str(launch_files()[name]), "--main_process_port", "0", "-m", "personakit"]
    arguments = _validate_launch_command(launch_command_parser().parse_args(words))[0]
    if not deepspeed:
        return prepare_multi_gpu_env(arguments)
    arguments.deepspeed_fields_from_accelerate_config = ""
    return prepare_deepspeed_cmd_env(arguments)[1]
