"""The container image built and run for real, as root: ``python -m tests.deploy.image``, three minutes.

No registry is needed: the bases are bootstrapped from Debian's packages (mmdebstrap), Rust is this machine's. The image
runs in namespaces of its own, its root read-only and its user the image's, which is what a container engine makes of
it. A demo inside makes calls through a relay that is killed on the way. Prints a table and, with --json, its figures.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
CONTAINERFILE: Final = ROOT / "deploy" / "container" / "Containerfile"
IMAGE: Final = "localhost/rtcrelay"
NEEDS: Final = {"buildah": "buildah", "mmdebstrap": "mmdebstrap"}
_UNWANTED: Final = ("cc", "gcc", "ld", "make", "cargo", "rustc", "pip", "pip3", "git", "curl", "wget")
_RUN: Final = """
mount --make-rprivate /
mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"
mount -t proc proc "$1/proc" && mount -t tmpfs tmpfs "$1/run" && mount -t tmpfs tmpfs "$1/tmp" && chmod 1777 "$1/tmp"
mount -t tmpfs tmpfs "$1/dev" && for name in null zero random urandom; do
    touch "$1/dev/$name" && mount --bind "/dev/$name" "$1/dev/$name"
done
mkdir "$1/run/rtcrelay" && chown "$2" "$1/run/rtcrelay" && ip link set lo up
root=$1 user=$2 && shift 2
exec chroot --userspec="$user" "$root" /usr/bin/env -i "$@"
"""


class Builder:
    """buildah, with a store of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._store = ["--root", str(directory / "store"), "--runroot", str(directory / "run")]

    def run(self, *words: str) -> str:
        """What a command of buildah prints."""
        environ = os.environ | {"BUILDAH_ISOLATION": "chroot"}
        command = ["buildah", *self._store, "--storage-driver", "vfs", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environ)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def bootstrap(self, name: str, packages: str, *environ: str) -> None:
        """An image of Debian's essential packages and some more."""
        archive = self.directory / f"{name}.tar"
        words = ["--quiet", "--variant=essential", f"--include={packages}", "bookworm", str(archive)]
        docs = ("doc", "man", "info", "locale", "lintian")
        subprocess.run(
            ["mmdebstrap", *(f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in docs), *words], check=True
        )
        container = self.run("from", "scratch")
        self.run("add", "--quiet", container, str(archive), "/")
        self.run("config", *(f"--env={each}" for each in environ), container)
        self.run("commit", "--quiet", "--rm", container, f"localhost/{name}")
        archive.unlink()

    def build(self) -> None:
        """The image, as the Containerfile says."""
        rust = subprocess.run(
            ["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True
        ).stdout.strip()
        volumes = (f"--volume={rust}:/opt/rust:ro", "--volume=/etc/ssl/certs:/etc/ssl/certs:ro")
        bases = ("--build-arg=BASE=localhost/base", "--build-arg=BUILD_BASE=localhost/build-base")
        self.run(
            *("bud", "--pull=never", "--network=host", *volumes, *bases),
            *(f"--file={CONTAINERFILE}", f"--tag={IMAGE}", str(ROOT)),
        )

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """The image's root."""
        container = self.run("from", IMAGE)
        try:
            yield Path(self.run("mount", container))
        finally:
            self.run("rm", container)


def run_image(root: Path, config: dict[str, Any], *words: str, shell: bool = False) -> subprocess.CompletedProcess[str]:
    """Runs the image's entry point with arguments, or another command in its place, as an engine would."""
    inside = [*config["Env"], *([] if shell else config["Entrypoint"]), *words]
    unshare = ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"]
    command = [*unshare, "bash", "-euc", _RUN, "image", str(root), config["User"], *inside]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


def examine(root: Path, config: dict[str, Any]) -> Iterator[tuple[str, bool, str]]:
    """(what, whether it is so, what was seen) of everything the image promises."""
    found = sorted(
        {
            name
            for name in _UNWANTED
            for place in config["Env"][0].split("=")[1].split(":")
            if (root / place[1:] / name).exists()
        }
    )
    yield "no compiler, no installer", not found, " ".join(found) or "none found"
    yield "not root", config["User"] == "65532:65532", config["User"]
    identity = run_image(root, config, "id", "-u", shell=True)
    yield "runs as that user", identity.stdout == "65532\n", identity.stdout.strip() or identity.stderr
    written = run_image(root, config, "touch", "/opt/rtcrelay/x", shell=True)
    yield "root is read-only", written.returncode != 0, written.stderr.strip()
    version = run_image(root, config, "version")
    yield "starts", version.returncode == 0, version.stdout.strip() or version.stderr
    hook = run_image(root, config, "/bin/sh", "-c", "sleep 0; rtcrelay drain --yes || true", shell=True)
    yield "the chart's hooks run", hook.returncode == 0, "a shell, sleep and rtcrelay are there"
    demo = run_image(root, config, "demo", "--json")
    passed = demo.returncode == 0
    yield "calls through a relay that is killed", passed, "rtcrelay demo" if passed else demo.stdout + demo.stderr


def main() -> int:
    """Builds, examines, prints; 1 if anything is not as promised."""
    parser = argparse.ArgumentParser(prog="python -m tests.deploy.image", description=__doc__)
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    options = parser.parse_args()
    missing = [package for command, package in NEEDS.items() if shutil.which(command) is None]
    if missing or os.geteuid() != 0:
        print(f"needs root and: apt-get install {' '.join(missing or NEEDS.values())}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="rtcrelay-image-", dir="/var/tmp") as directory:
        figures = measure(Builder(Path(directory)))
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        for name, value in figures["seconds"].items():
            print(f"{name:<40}{value:>8.1f} s")
        for name, value in figures["megabytes"].items():
            print(f"{name:<40}{value:>8.0f} MB")
        for check in figures["checks"]:
            print(f"{check['what']:<40}{'yes' if check['passed'] else 'NO':>8}    {check['seen']}")
    return 0 if all(check["passed"] for check in figures["checks"]) else 1


def measure(builder: Builder) -> dict[str, Any]:
    """Builds and examines the image."""
    steps = {
        "bootstrap the bases": lambda: _bases(builder),
        "build the image": builder.build,
    }
    seconds = {}
    for name, step in steps.items():
        began = time.monotonic()
        step()
        seconds[name] = round(time.monotonic() - began, 1)
    sizes = {image["names"][0].split(":")[0]: image["size"] for image in json.loads(builder.run("images", "--json"))}
    config = json.loads(builder.run("inspect", "--type", "image", IMAGE))["OCIv1"]["config"]
    with builder.mounted() as root:
        checks = [{"what": what, "passed": passed, "seen": seen} for what, passed, seen in examine(root, config)]
        ours = int(
            subprocess.run(["du", "-sb", root / "opt"], capture_output=True, text=True, check=True).stdout.split()[0]
        )
    return {
        "kind": "image",
        "v": 1,
        "seconds": seconds,
        "checks": checks,
        "megabytes": {
            "image": _megabytes(sizes[IMAGE]),
            "of that rtcrelay and its libraries": round(ours / 1e6),
        },
    }


def _bases(builder: Builder) -> None:
    path = "PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    certificates = "/etc/ssl/certs/ca-certificates.crt"
    builder.bootstrap("base", "python3,libstdc++6")
    environ = (path, f"PIP_CERT={certificates}", f"CARGO_HTTP_CAINFO={certificates}")
    builder.bootstrap("build-base", "python3-venv,gcc,libc6-dev", *environ)


def _megabytes(size: str) -> float:
    number, unit = size.split()
    return round(float(number) * {"MB": 1, "GB": 1000}[unit])


if __name__ == "__main__":
    sys.exit(main())
