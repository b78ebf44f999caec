"""The command line of bubblewrap for a plan."""

from pathlib import Path

from tunesmith.grading.sandbox.plan import Plan

_FLAGS = {"link": "--symlink", "read": "--ro-bind", "write": "--bind"}


def arguments(plan: Plan, sources: dict[str, str], command: list[str]) -> list[str]:
    """What bubblewrap is started with; `sources` says where a path outside has been mounted for it, if anywhere.

    Its own environment is empty: it is visible inside.
    """
    walls = ["--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session", "--as-pid-1"]
    walls += ["--share-net"] if plan.network else []
    walls += ["--hostname", "sandbox", "--proc", "/proc", "--dev", "/dev"]
    size = str(plan.limits.scratch_mb << 20)
    for place, (kind, source) in layout(plan).items():
        source = sources.get(source, source)
        walls += ["--size", size, "--tmpfs", place] if kind == "fresh" else [_FLAGS[kind], source, place]
    # What bubblewrap made for itself belongs to the user inside, who could fill it without bound.
    walls += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]
    return [plan.bubblewrap, *walls, "--", *command]


def layout(plan: Plan) -> dict[str, tuple[str, str]]:
    """Place inside -> what lies there ("link", "read", "write", "fresh") and where it comes from; outer ones first."""
    found: dict[str, tuple[str, str]] = {"/usr": ("read", "/usr")}
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"):
        path = Path(name)
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[name] = ("read", name)
    found |= {place: ("read", place) for place in plan.readable}
    found |= {place: ("read", source) for place, source in plan.files.items()}
    found |= dict.fromkeys(plan.fresh, ("fresh", ""))
    found |= {place: ("write", place) for place in plan.writable}
    return dict(sorted(found.items(), key=lambda item: len(Path(item[0]).parts)))
