"""A story: a page, the desk of who follows it, and what upstream saw of each of its sections."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from tests.clients.elsewhere import Elsewhere
from tests.stories.desk import Desk, Done, NotAsShownError, Terminal
from tests.stories.page import ANYTHING, Command, File, Page, Stop

_ASKS_FOR_THE_CODE: Final = "echo $?"
#: What leads from there to the bytes is not counted again.
_FILE: Final = re.compile(r"^GET hub /(?!api/)\S+/resolve/")
#: The beginning of a word, of which the rest is on the screen.
_COPIED: Final = re.compile(rf"[\w:/.-]+{ANYTHING}")


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a section.

    Attributes:
        commands: Each command with what it wrote, in their order.
        asked: Requests that reached upstream meanwhile: method, server and target; a GET of one byte counts
            as a HEAD.
    """

    commands: tuple[tuple[str, Done], ...]
    asked: tuple[str, ...]

    def of(self, part: str) -> str:
        """What the command wrote that has *part* in it."""
        return next(done.written for text, done in self.commands if part in text)

    @property
    def resolved(self) -> list[str]:
        """Those of `asked` that asked the Hub for a file."""
        return [one for one in self.asked if one.startswith("GET hub ") and _FILE.search(one)]

    @property
    def bodies(self) -> list[str]:
        """Those of `asked` that asked for a file, of the Hub or of any other host."""
        elsewhere = [one for one in self.asked if not one.startswith(("GET hub ", "HEAD "))]
        return [*self.resolved, *elsewhere]


@dataclass
class Story:
    """Follows a page, each section once and in order, as far as a test asks for.

    Attributes:
        page: The page.
        desk: Where it is followed.
        upstream: What is asked by mirrors.
        before: What happens to the world before a section, by its heading: upstream goes, a disk breaks.
        machines: The desks of the machines that the page names.
    """

    page: Page
    desk: Desk
    upstream: Elsewhere
    before: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    machines: Mapping[str, Desk] = field(default_factory=dict)
    _told: dict[str, Told] = field(default_factory=dict)
    _failure: Exception | None = None
    _terminals: dict[str, Terminal] = field(default_factory=dict)
    _own: dict[str, Terminal] = field(default_factory=dict)
    _written: str = ""

    def __post_init__(self) -> None:
        """Hold what happens before sections against the page."""
        unknown = set(self.before) - set(self.page.sections)
        assert not unknown, f"{self.page.path} has no section {unknown}"
        self._left = iter(self.page.sections.items())

    def to(self, heading: str) -> Told:
        """Follow the page to the end of a section, and tell what became of that.

        Raises:
            NotAsShownError: Something else came of it, now or before; the text says where.
        """
        assert heading in self.page.sections, f"no section {heading!r} in {self.page.path}"
        while heading not in self._told:
            if self._failure is not None:
                raise self._failure
            name, steps = next(self._left)
            if name in self.before:
                self.before[name]()
            self.upstream.forget()
            try:
                commands = tuple(self._follow(steps))
            except Exception as error:
                self._failure = error
                raise
            self._told[name] = Told(commands, tuple(self._asked()))
        return self._told[heading]

    def to_the_end(self) -> None:
        """Follow all that is left, so that no block of the page is without proof."""
        self.to(list(self.page.sections)[-1])

    def _follow(self, steps: tuple[object, ...]) -> Iterator[tuple[str, Done]]:
        for step, following in zip(steps, (*steps[1:], None), strict=False):
            if isinstance(step, File):
                self._desk(step.machine).save(step)
            elif isinstance(step, Command):
                yield step.text, self._run(step, following)
            elif isinstance(step, Stop):
                self._desk(step.machine).stop()

    def _desk(self, machine: str) -> Desk:
        return self.machines[machine] if machine else self.desk

    def _run(self, step: Command, following: object) -> Done:
        """Type a command; it must end with 0, unless the page asks next how it has ended."""
        desk, where = self._desk(step.machine), step.machine
        if where not in self._terminals:
            self._terminals[where] = self._own[where] = desk.open()
        if step.opens:
            self._own[where] = desk.open()
        terminal = self._own[where] if step.own_terminal else self._terminals[where]
        step = replace(step, text=_COPIED.sub(self._copied, step.text))
        try:
            done = desk.run(terminal, step)
        except NotAsShownError as error:
            raise NotAsShownError(f"{self.page.where(step)}: {error}") from None
        self._written += done.written
        asks = isinstance(following, Command) and following.text.startswith(_ASKS_FOR_THE_CODE)
        if done.code and not asks:
            said = f"ended with {done.code}:\n{done.written[-6000:]}"
            raise NotAsShownError(f"{self.page.where(step)}: {step.text}\n{said}")
        return done

    def _copied(self, begun: re.Match[str]) -> str:
        """What somebody copies from the screen for a word of which the page shows the beginning."""
        beginning = re.escape(begun[0].removesuffix(ANYTHING))
        found = re.findall(rf"(?<!\S){beginning}\S+", self._written)
        assert found, f"nothing was written that begins with {begun[0]}"
        return str(found[-1])

    def _asked(self) -> Iterator[str]:
        for seen in self.upstream.origin.log:
            yield f"{seen.method} {seen.server} {seen.path}"
        for one in self.upstream.hosts.seen:
            looked = one.headers.get("range") == "bytes=0-0"  # what a HEAD would tell
            yield f"{'HEAD' if looked else one.method} {one.host} {one.target}"
