"""Repositories: their commits, refs and audience, and the shelf that finds them by name.

Tests write from their own thread while the servers read from theirs, so everything a handler looks
at (a commit, the access of a repo) is a value that is replaced whole, never changed in place.
"""

import hashlib
import itertools
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from tests.origin.content import (
    Content,
    Entry,
    Source,
    Sparse,
    Vault,
    blob_oid,
    pointer_text,
    xet_hash_of,
)
from tests.origin.objects import Change, GitFolder, Tree, commit_oid, trees_of

kinds = ("models", "datasets", "spaces", "kernels")
lfs_patterns = ("*.safetensors", "*.bin", "*.parquet", "*.onnx", "*.gguf")
Files = Mapping[str, Source | None]
LfsRule = Sequence[str] | Callable[[str], bool]
_epoch = 1_700_000_000
# The Hub refuses larger files outside LFS.
_lfs_forced_above = 10 << 20
_short_commit = re.compile(r"[0-9a-f]{7,39}")


@dataclass(frozen=True, slots=True)
class Access:
    """Who may read a repo: ``readers`` are the tokens let into a private or gated one."""

    private: bool = False
    gated: bool | str = False
    readers: frozenset[str] = frozenset()
    disabled: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Commit:
    """One commit: its whole file set, its folders, and which commit last touched each path."""

    oid: str
    parent: str | None
    message: str
    when: int
    files: Mapping[str, Entry]
    trees: Mapping[str, Tree]
    touched: Mapping[str, str]
    listings: dict[tuple[str, bool], tuple[str, ...]] = field(default_factory=dict)

    def listing(self, folder: str, *, recursive: bool) -> tuple[str, ...]:
        """Return the paths under ``folder``, folders before files and parents before children."""
        key = (folder, recursive)
        if key not in self.listings:
            self.listings[key] = tuple(self._walk(folder, recursive=recursive))
        return self.listings[key]

    def _walk(self, folder: str, *, recursive: bool) -> Iterable[str]:
        tree = self.trees[folder]
        prefix = f"{folder}/" if folder else ""
        for name in tree.folders:
            yield prefix + name
            if recursive:
                yield from self._walk(prefix + name, recursive=True)
        for name in tree.files:
            yield prefix + name


class Repo:
    """One repository of the hub, backed by a bare git repository on disk."""

    def __init__(
        self, kind: str, name: str, folder: Path, vault: Vault, *, lfs: LfsRule, xet: bool
    ) -> None:
        self.kind = kind
        self.name = name
        self.git = GitFolder(folder)
        self.access = Access()
        self.info: Mapping[str, object] = {}
        self.xet = xet
        self.ident = ""
        self.commits: dict[str, Commit] = {}
        self.refs: Mapping[str, str] = {}
        self.lfs_contents: dict[str, Content] = {}
        self.xet_contents: dict[str, Content] = {}
        self._lfs = lfs
        self._vault = vault
        self._lock = threading.Lock()

    @property
    def web_path(self) -> str:
        """Path of the repo's page, as ``/datasets/acme/books``; models have no prefix."""
        return f"/{self.name}" if self.kind == "models" else f"/{self.kind}/{self.name}"

    @property
    def commit(self) -> str:
        """Id of the head of main."""
        return self.refs["refs/heads/main"]

    def head(self) -> Commit:
        """Return the head commit of main."""
        return self.commits[self.commit]

    def resolve(self, revision: str) -> Commit | None:
        """Return the commit that a branch, tag, full or short id, or full ref name stands for."""
        names = (revision, f"refs/heads/{revision}", f"refs/tags/{revision}")
        refs = self.refs
        if revision == "HEAD":
            return self.head()
        for name in names:
            if name in refs:
                return self.commits[refs[name]]
        if revision in self.commits:
            return self.commits[revision]
        if _short_commit.fullmatch(revision):
            found = [oid for oid in list(self.commits) if oid.startswith(revision)]
            if len(found) == 1:
                return self.commits[found[0]]
        return None

    @property
    def paths(self) -> list[str]:
        """The paths of all files on main, sorted."""
        return sorted(self.head().files)

    def entry(self, path: str, revision: str = "main") -> Entry:
        """Return the file at ``path``; KeyError when it or the revision is missing."""
        commit = self.resolve(revision)
        if commit is None:
            raise KeyError(revision)
        return commit.files[path]

    def history(self, commit: Commit) -> list[Commit]:
        """Return ``commit`` and its ancestors, newest first."""
        line = [commit]
        while line[-1].parent is not None:
            line.append(self.commits[line[-1].parent])
        return line

    def push(self, files: Files, message: str = "Upload files", revision: str = "main") -> str:
        """Commit ``files`` (None takes a path away) on a branch or ref; return the new commit id.

        A branch that does not exist yet starts at main; ``refs/convert/…`` starts empty.
        """
        ref = revision if revision.startswith("refs/") else f"refs/heads/{revision}"
        with self._lock:
            start: str | None = self.refs.get(ref)
            if start is None and not ref.startswith("refs/convert/"):
                start = self.refs.get("refs/heads/main")
            base = None if start is None else self.commits[start]
            commit, change = self._next(base, files, message)
            written = self.git.commit(ref, start, commit.when, message, change)
            if written != commit.oid:
                fault = f"git wrote commit {written} where {commit.oid} was computed"
                raise RuntimeError(fault)
            self.commits[commit.oid] = commit
            self.refs = {**self.refs, ref: commit.oid}
        return commit.oid

    def point(self, refs: Mapping[str, str | None]) -> None:
        """Set refs (full names) to commits, or take them away (None)."""
        with self._lock:
            self.git.point(refs)
            moved = {name: oid for name, oid in {**self.refs, **refs}.items() if oid is not None}
            self.refs = moved

    def _next(self, base: Commit | None, files: Files, message: str) -> tuple[Commit, Change]:
        entries = dict(base.files) if base else {}
        touched = dict(base.touched) if base else {}
        blobs: dict[str, bytes] = {}
        paths: dict[str, str | None] = {}
        for path, source in files.items():
            if source is None:
                paths[path] = None
                entries.pop(path, None)
                touched.pop(path, None)
                continue
            entry, blob = self._entry(path, source)
            blobs[entry.oid] = blob
            paths[path] = entry.oid
            entries[path] = entry
        trees = trees_of({path: entry.oid for path, entry in entries.items()})
        when = _epoch + 60 * len(self.commits)
        parent = base.oid if base else None
        oid = commit_oid(trees[""].oid, parent, when, message)
        for path, blob_id in paths.items():
            if blob_id is not None:
                touched[path] = oid
                while path := path.rpartition("/")[0]:
                    touched[path] = oid
        commit = Commit(oid, parent, message, when, entries, trees, touched)
        return commit, Change(tuple(blobs.values()), paths)

    def _entry(self, path: str, source: Source) -> tuple[Entry, bytes]:
        content = self._vault.take(source)
        lfs = (
            isinstance(source, Sparse)
            or content.size > _lfs_forced_above
            or (
                self._lfs(path)
                if callable(self._lfs)
                else any(fnmatchcase(path, pattern) for pattern in self._lfs)
            )
        )
        blob = pointer_text(content.sha256, content.size) if lfs else content.read()
        xet_hash = xet_hash_of(content.sha256) if lfs and self.xet else None
        if lfs:
            self.lfs_contents[content.sha256] = content
        if xet_hash is not None:
            self.xet_contents[xet_hash] = content
        return Entry(path, content, blob_oid(blob), lfs, xet_hash), blob


@dataclass(frozen=True, slots=True)
class Found:
    """What a name led to: the repo, and whether the name was its canonical one."""

    repo: Repo
    canonical: bool


class Shelf:
    """All repositories of the hub, by kind and name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._repos: dict[tuple[str, str], Repo] = {}
        self._aliases: dict[tuple[str, str], Repo] = {}
        self._count = itertools.count(1)
        vault_folder = folder / "contents"
        vault_folder.mkdir(parents=True, exist_ok=True)
        self.vault = Vault(vault_folder)

    def add(self, kind: str, name: str, *, lfs: LfsRule, xet: bool) -> Repo:
        """Put a new, empty repo on the shelf; ValueError if the name is taken or malformed."""
        if kind not in kinds or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
            message = f"no repo can be {kind} {name!r}"
            raise ValueError(message)
        if (kind, name) in self._repos:
            message = f"{kind} {name} exists"
            raise ValueError(message)
        number = next(self._count)
        folder = self._folder / "git" / f"{number}.git"
        folder.parent.mkdir(exist_ok=True)
        repo = Repo(kind, name, folder, self.vault, lfs=lfs, xet=xet)
        repo.ident = hashlib.sha256(f"{number} {kind} {name}".encode()).hexdigest()[:24]
        repo.git.create()
        return repo

    def publish(self, repo: Repo, renamed_from: Iterable[str] = ()) -> None:
        """Make a repo that is filled visible, under its own and its former names."""
        self._repos[repo.kind, repo.name] = repo
        self._aliases.pop((repo.kind, repo.name), None)
        for name in renamed_from:
            self._aliases[repo.kind, name] = repo

    def rename(self, repo: Repo, name: str) -> None:
        """Give a repo a new name; the old one leads to it from now on."""
        old = repo.name
        del self._repos[repo.kind, old]
        repo.name = name
        self.publish(repo, [old])

    def remove(self, repo: Repo) -> None:
        """Take a repo and all names that lead to it off the shelf."""
        self._repos.pop((repo.kind, repo.name), None)
        self._aliases = {key: held for key, held in self._aliases.items() if held is not repo}

    def find(self, kind: str, name: str) -> Found | None:
        """Return the repo of this name: its own, a former one, or one in another letter case."""
        repo = self._repos.get((kind, name))
        if repo is not None:
            return Found(repo, canonical=True)
        repo = self._aliases.get((kind, name))
        if repo is None:
            lower = name.lower()
            same = (held for held in self.all(kind) if held.name.lower() == lower)
            repo = next(same, None)
        return None if repo is None else Found(repo, canonical=False)

    def all(self, kind: str) -> list[Repo]:
        """Return the repos of one kind, by name."""
        return [repo for (held, _), repo in sorted(self._repos.copy().items()) if held == kind]

    def everything(self) -> list[Repo]:
        """Return every repo of every kind."""
        return list(self._repos.copy().values())

    def content(self, sha256: str) -> Content | None:
        """Return a content that any repo holds or held: the CDN forgets nothing."""
        return self.vault.taken.get(sha256)


def changed(access: Access, **fields: object) -> Access:
    """Return ``access`` with the fields given (not None) replaced."""
    given = {name: value for name, value in fields.items() if value is not None}
    return replace(access, **given)  # type: ignore[arg-type]
