"""What upkeep and the operator's orders work on: the open parts of one data folder, together."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType

from mirror.clock import Clock
from mirror.hubs.base import Hub
from mirror.index.grants import Grants
from mirror.store.blobs import DiskStore
from mirror.store.layout import Layout
from mirror.store.ledger import Ledger
from mirror.store.partials import Partials
from mirror.upkeep.addresses import AddressBook
from mirror.upkeep.history import History
from mirror.upkeep.known import Known, writer
from mirror.upkeep.lastuse import LastUse
from mirror.upkeep.pins import Pins
from mirror.upkeep.running import boot_id


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts of the data folder of *layout*, whose lock is held.

    *report* tells how the server is that runs on it, where one does.
    """

    layout: Layout
    ledger: Ledger
    store: DiskStore
    partials: Partials
    index: Known
    book: AddressBook
    pins: Pins
    grants: Grants
    history: History
    lastuse: LastUse
    clock: Clock
    report: Callable[[], Mapping[str, object]] | None = None


class AtRest:
    """The desk of a data folder that no server runs on, from entering to leaving.

    The lock of the folder must be held; *hubs* makes the hubs with the folder's secret, *say* is told, in a
    sentence, of what is damaged. Entering raises `StoreError` when the disk refuses.
    """

    def __init__(
        self,
        layout: Layout,
        hubs: Callable[[bytes], Sequence[Hub]],
        clock: Clock,
        say: Callable[[str], None],
        *,
        quota: int | None,
        min_free: int,
    ) -> None:
        self._layout = layout
        self._hubs = hubs
        self._clock = clock
        self._say = say
        self._room: tuple[int | None, int] = (quota, min_free)
        self._stack = ExitStack()

    def __enter__(self) -> Desk:
        layout, clock = self._layout, self._clock
        with ExitStack() as stack:
            layout.prepare()
            layout.tidy()
            ledger = Ledger(*self._room, layout.measure_others(), layout.free)
            store = DiskStore(layout, ledger)
            stack.callback(store.close)
            partials = Partials(layout, ledger)
            stack.callback(partials.close)
            index = stack.enter_context(
                Known(layout, store, self._say, boot=boot_id(), count=ledger.take)
            )
            book = AddressBook(index, self._hubs(layout.secret()), clock)
            write = writer(layout)
            desk = Desk(
                layout,
                ledger,
                store,
                partials,
                index,
                book,
                Pins(index.journal, index.catalog, book.contents),
                Grants(index.journal),
                History(layout.stats, write, clock),
                LastUse(layout.uses, write),
                clock,
            )
            self._stack = stack.pop_all()
        return desk

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
