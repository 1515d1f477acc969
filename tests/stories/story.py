"""A story: a page, the desk of who follows it, and what upstream saw of each of its sections."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.clients.elsewhere import Elsewhere
from tests.stories.desk import Desk, Done, NotAsShownError, Terminal
from tests.stories.page import Command, File, Page

_ASKS_FOR_THE_CODE: Final = "echo $?"
#: What leads from there to the bytes is not counted again.
_FILE: Final = re.compile(r"^GET hub /(?!api/)\S+/resolve/")


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
    """

    page: Page
    desk: Desk
    upstream: Elsewhere
    before: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    _told: dict[str, Told] = field(default_factory=dict)
    _failure: Exception | None = None
    _terminal: Terminal | None = None
    _own: Terminal | None = None

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
                self.desk.save(step)
            elif isinstance(step, Command):
                yield step.text, self._run(step, following)
            else:
                self.desk.stop()

    def _run(self, step: Command, following: object) -> Done:
        """Type a command; it must end with 0, unless the page asks next how it has ended."""
        if self._terminal is None:
            self._terminal = self._own = self.desk.open()
        if step.opens:
            self._own = self.desk.open()
        terminal = self._own if step.own_terminal else self._terminal
        assert terminal is not None
        try:
            done = self.desk.run(terminal, step)
        except NotAsShownError as error:
            raise NotAsShownError(f"{self.page.where(step)}: {error}") from None
        asks = isinstance(following, Command) and following.text.startswith(_ASKS_FOR_THE_CODE)
        if done.code and not asks:
            said = f"ended with {done.code}:\n{done.written[-6000:]}"
            raise NotAsShownError(f"{self.page.where(step)}: {step.text}\n{said}")
        return done

    def _asked(self) -> Iterator[str]:
        for seen in self.upstream.origin.log:
            yield f"{seen.method} {seen.server} {seen.path}"
        for one in self.upstream.hosts.seen:
            looked = one.headers.get("range") == "bytes=0-0"  # what a HEAD would tell
            yield f"{'HEAD' if looked else one.method} {one.host} {one.target}"
