"""Machines that are no directory here: another user's session on a real sshd, an engine that plays docker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import engines

NOBODY = 65534


class SshShell(engines.Sshd):
    """An sshd whose sessions run as another user, where root runs the tests, in another HOME."""

    def command(self) -> list[str]:
        found = super().command()
        self.there = self.dir / "there"
        self.there.mkdir(exist_ok=True)
        become = ""
        if os.geteuid() == 0:
            os.chown(self.there, NOBODY, NOBODY)
            become = f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups "
            program = [*become.split(), "sh", "-c", 'exec "$0" -c "import antsmem"', sys.executable]
            if subprocess.run(program, cwd="/", capture_output=True, check=False).returncode:
                # Root keeps the interpreter to itself: the other user reads it all the same, and writes nothing.
                become += "--inh-caps +dac_override --ambient-caps +dac_override "
        script, path = self.dir / "session", f"{program_folder(self.dir)}:/usr/bin:/bin"
        script.write_text(
            f"#!/bin/sh\ncd {self.there}\n"
            f'exec {become}env -i HOME={self.there} USER=else PATH={path} sh -c "$SSH_ORIGINAL_COMMAND"\n'
        )
        script.chmod(0o755)
        config = self.dir / "config"
        lines = [line for line in config.read_text().splitlines() if not line.startswith("ForceCommand")]
        config.write_text("\n".join([*lines, f"ForceCommand {script}", ""]))
        return found

    @property
    def ssh(self) -> str:
        """The client and its options."""
        known = f"-o UserKnownHostsFile={self.known_hosts} -o StrictHostKeyChecking=yes"
        return f"ssh -F none -p {self.port} -i {self.key_file} {known}"


def program_folder(folder: Path) -> Path:
    """A directory in `folder` with the program, for everybody."""
    found = folder / "bin"
    found.mkdir(mode=0o755, exist_ok=True)
    (found / "antsmem").write_text(f'#!/bin/sh\nexec {sys.executable} -BP -m antsmem "$@"\n')
    (found / "antsmem").chmod(0o755)
    return found


def fake_docker(folder: Path) -> Path:
    """A program `docker` in `folder` that notes each call in `calls` and runs in this system what it is to run in
    a container."""
    folder.mkdir()
    script = folder / "docker"
    path = f"{program_folder(folder)}:/usr/bin:/bin"
    script.write_text(
        f"""#!/bin/sh
printf '%s\\n' "$*" | cut -c1-200 | head -n 1 >>{folder}/calls
case "$1" in
version|rm) exit 0;;
run) echo 4711; exit 0;;
exec) shift 3; exec env -i PATH={path} "$@";;
esac
exit 125
"""
    )
    script.chmod(0o755)
    return folder / "calls"
