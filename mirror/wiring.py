"""The composition root: settings in, running objects out.

The life of a request, in the order the parts are composed below:

1.  ``web/targets`` reads the raw target, refuses what no hub could mean, and makes a `RequestHead`.
2.  ``cache/pullthrough`` asks each hub whether it recognises it: a question.
3.  ``cache/facts`` shows the hub what is known to this caller and fresh enough; ``hub.needs`` says what
    is missing. A hit misses nothing.
4.  ``cache/asking`` fetches what is missing, once however many ask, and ``hub.absorb`` turns it into
    facts, which ``index/catalog`` remembers.
5.  ``cache/pullthrough`` checks that the caller is admitted. There is no other way to an answer.
6.  ``hub.answer`` writes head and body from facts; spans of blobs that are not here make
    ``cache/fills`` start their one fill: ``upstream/transfer`` receives into a ``store/partials`` file.
7.  ``web/body`` applies conditions and ranges, ``web/pump`` sends each span by sendfile from the blob,
    or from the growing file as far as it has come; its end waits for the digest.
8.  ``store/blobs`` publishes the verified file, ``index`` learns its name. The next request is a hit.

Meanwhile ``upkeep/house`` keeps room, reads what is stored again and sweeps.
"""

import asyncio
import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from socket import socket
from types import TracebackType
from typing import Final, Self

from mirror import __version__
from mirror.bundle.adoptasking import Upstream
from mirror.bundle.parts import Parts
from mirror.bundle.works import Works
from mirror.cache.asking import Asking
from mirror.cache.bodies import Bodies
from mirror.cache.facts import Lifetimes
from mirror.cache.fills import Fills
from mirror.cache.learning import Learning
from mirror.cache.local import LocalKeeper
from mirror.cache.making import Making
from mirror.cache.mending import Mending
from mirror.cache.outage import Outages
from mirror.cache.pullthrough import PullThrough
from mirror.cache.shelf import Shelf
from mirror.cache.unwell import Unwell
from mirror.clock import SystemClock
from mirror.config import Settings
from mirror.events import Alarm, Event, Observer
from mirror.hubs import registry
from mirror.index.grants import Grants
from mirror.leases import Leases
from mirror.parts import gate_of, hubs_of, metrics_token_of
from mirror.store import durable, residency
from mirror.store.blobs import DiskStore
from mirror.store.draft import Draft
from mirror.store.layout import Layout
from mirror.store.ledger import Ledger
from mirror.store.partials import Partials
from mirror.telemetry import Telemetry
from mirror.upkeep.addresses import AddressBook
from mirror.upkeep.chores import Ages, house
from mirror.upkeep.desk import Desk
from mirror.upkeep.evict import Evictor
from mirror.upkeep.history import History
from mirror.upkeep.known import Known, writer
from mirror.upkeep.lastuse import LastUse
from mirror.upkeep.orders import Orders
from mirror.upkeep.pins import Pins
from mirror.upkeep.running import boot_id
from mirror.upstream.trust import tls_context
from mirror.wayout import way_out
from mirror.web.control import listen
from mirror.web.serve import Door
from mirror.web.tls import ServingTls

# Threads for reads that may block, for publishing and for records: beyond this the disk is the limit.
DISK_THREADS: Final = 8

_LOG: Final = logging.getLogger("modelmirror")


class Mirror:
    """A whole mirror: enter it and it serves, leave it and everything is put away.

    *settings* are all there is to know; with *at*, a socket that listens, but the address. Entering
    raises `MirrorError` for a data folder or a setting, `OSError` for an address, that cannot be used.
    Without *doors* it serves nobody: its `orders` are for a command that has the data folder to itself.
    """

    orders: Orders

    def __init__(self, settings: Settings, at: socket | None = None, *, doors: bool = True) -> None:
        self._settings, self._at, self._doors = settings, at, doors
        self._stack = AsyncExitStack()
        self._door: Door | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._compose(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def hurry(self) -> None:
        """Cut what still runs of a stop under way."""
        if self._door is not None:
            self._door.hurry()

    async def _compose(self, stack: AsyncExitStack) -> None:
        settings, clock, telemetry, leases = self._settings, SystemClock(), Telemetry(), Leases()
        # 25 ms of a thread, which pass while the disk is waited for.
        trust = _pool(stack, 1, "trust").submit(tls_context, settings.upstream_ca).result

        # What cannot be used is said before anything is touched.
        tls, gate = (
            ServingTls.of(settings.tls_cert, settings.tls_key, clock),
            gate_of(settings, clock),
        )

        # The data folder, held alone from here on.
        layout = Layout(settings.data)
        layout.prepare()
        stack.enter_context(durable.StoreLock(layout.lock))
        layout.tidy()
        history = History(layout.stats, writer(layout), clock)
        observe = _observer(telemetry, history)
        secret = layout.secret()
        seeing = residency.choose(layout.root)
        ledger = Ledger(
            settings.quota,
            settings.min_free,
            layout.measure_others(),
            layout.free,
            make_room=lambda missing: evictor.make_room(missing),  # noqa: PLW0108 -- made below
        )
        store = DiskStore(
            layout,
            ledger,
            residency=seeing,
            observe=observe,
            lost=lambda digest: index.catalog.dropped([digest]),
            gone=leases.changed,
        )
        stack.callback(store.close)
        partials = Partials(layout, ledger, residency=seeing)
        stack.callback(partials.close)

        # What is known, and what may go for new things.
        index = stack.enter_context(
            Known(
                layout,
                store,
                lambda sentence: observe(Alarm("damaged", sentence)),
                boot=boot_id(),
                refused=lambda sentence: observe(Alarm("index-held", sentence)),
                count=ledger.take,
                leases=leases,
            )
        )
        hubs = hubs_of(settings, secret)
        book = AddressBook(index, hubs, clock)
        pins = Pins(index.journal, index.catalog, book.contents)
        evictor = Evictor(
            store, partials, index.catalog, lambda: pins.digests() | works.held(), observe
        )
        grants = Grants(index.journal, leases.break_all)

        # The way out.
        client, transfers = await way_out(stack, settings, clock, trust, observe)

        # The engine.
        disk = _pool(stack, DISK_THREADS, "disk")
        fills = Fills(
            store=store,
            partials=partials,
            catalog=index.catalog,
            journal=index.arrears,
            fetcher=transfers,
            clock=clock,
            observe=observe,
            workers=_pool(stack, settings.upstream_connections, "fill"),
            disk=disk,
            strict=settings.strict,
        )
        fills.prepare()
        stack.push_async_callback(fills.close)
        asking = Asking(
            upstream=client,
            catalog=index.catalog,
            learning=Learning(
                catalog=index.catalog,
                memo=index.memo,
                arrears=index.arrears,
                observe=observe,
            ),
            clock=clock,
            limits={"huggingface": settings.huggingface_tree_limit},
        )
        outages = Outages(client, clock, observe, look=not settings.offline)
        stack.push_async_callback(outages.close)
        unwell = Unwell(clock, observe)
        making = Making(
            fills=fills,
            upstream=client,
            drafts=lambda: Draft(layout, ledger),
            partials=partials,
            transforms=registry.transforms(),
            disk=disk,
            observe=observe,
        )
        stack.push_async_callback(making.close)
        bodies = Bodies(
            fills=fills,
            upstream=client,
            outages=outages,
            asking=asking,
            making=making,
            unwell=unwell,
            offline=settings.offline,
        )
        mending = Mending(
            fills=fills, upstream=client, disk=disk, unwell=unwell, offline=settings.offline
        )
        stack.push_async_callback(mending.close)
        pull = PullThrough(
            hubs=hubs,
            asking=asking,
            bodies=bodies,
            catalog=index.catalog,
            memo=index.memo,
            lifetimes=Lifetimes(
                refs={"huggingface": settings.huggingface_ref_lifetime},
                audience=settings.audience_lifetime,
                grace=settings.audience_grace,
            ),
            clock=clock,
            secret=secret,
            offline=settings.offline,
            outages=outages,
            granted=grants.admits,
            gate=gate,
            leases=leases,
        )
        stack.push_async_callback(pull.close)
        keeper = LocalKeeper(
            pull,
            fills,
            index.catalog,
            clock,
            outages=outages,
            mending=mending,
            unwell=unwell,
            arrears=index.arrears,
            room=lambda: {"quota": ledger.quota, "free": ledger.available()},
            readable=layout.readable,
            traffic=history.report,
            about={
                "version": __version__,
                "upstreams": {"huggingface": settings.huggingface_upstreams},
                "offline": settings.offline,
                "cache_folder": str(settings.data),
            },
            open_hubs=registry.open_hubs(),
            leases=leases,
        )
        stack.callback(keeper.write_touches)
        # The house makes room at once, and asks what works hold for that: so they are made before it.
        works = Works(
            Parts(
                layout=layout,
                ledger=ledger,
                store=store,
                partials=partials,
                catalog=index.catalog,
                memo=index.memo,
                arrears=index.arrears,
                grants=grants,
                hubs=hubs,
                clock=clock,
                observe=observe,
                ask=Upstream(
                    asking=asking,
                    catalog=index.catalog,
                    memo=index.memo,
                    clock=clock,
                    loop=asyncio.get_running_loop(),
                    offline=settings.offline,
                    down=outages.down,
                ),
            )
        )
        desk = Desk(
            layout, ledger, store, partials, index, book, pins, grants, history,
            LastUse(layout.uses, writer(layout)), clock, keeper.report,
        )  # fmt: skip
        stack.enter_context(house(desk, _ages(settings), observe, _LOG.info))

        # What the operator may order, and the doors for it and for everybody, opened last and closed first.
        await _begin(stack, works)
        self.orders = Orders.ready(desk, lambda: self.url, works.orders)
        if not self._doors:
            return
        await listen(stack, layout.control, self.orders)
        await self._open(
            stack, keeper, Shelf(index.catalog, hubs, clock), tls, telemetry, observe,
            prepared=0 if gate.knows_callers else settings.limits_prepared,
        )  # fmt: skip

    async def _open(
        self,
        stack: AsyncExitStack,
        keeper: LocalKeeper,
        shelf: Shelf,
        tls: ServingTls | None,
        telemetry: Telemetry,
        observe: Observer,
        *,
        prepared: int,
    ) -> None:
        """Open the door for everybody; *prepared* answers are kept in so many bytes."""
        settings = self._settings
        self._door = Door(
            keeper,
            shelf=shelf,
            host=settings.host,
            port=settings.port,
            listener=self._at,
            tls=tls,
            public_url=settings.public_url,
            trusted_proxies=settings.trusted_proxies,
            strict=settings.strict,
            metrics=None if settings.metrics == "off" else _metrics(telemetry, keeper),
            metrics_token=metrics_token_of(settings),
            observe=observe,
            drain=settings.drain,
            connections=settings.limits_connections,
            per_address=settings.limits_connections_per_address,
            prepared=prepared,
            access=sys.stderr.write if settings.log_level in {"debug", "info"} else None,
            access_json=settings.log_format == "json",
        )
        self.url = await self._door.start()
        stack.push_async_callback(self._door.stop)


async def _begin(stack: AsyncExitStack, works: Works) -> None:
    """Finish what a crash cut short of *works*, before anybody is served; they end with *stack*."""
    await asyncio.to_thread(works.prepare)
    stack.push_async_callback(asyncio.to_thread, works.close)


def _ages(settings: Settings) -> Ages:
    """How old what is swept must be, and how often everything is read again."""
    return Ages(settings.sweep_partials, settings.sweep_quarantine, settings.scrub_period)


def _observer(*counters: Observer) -> Observer:
    """Hands each event to *counters*, and alarms to the log."""

    def observe(event: Event) -> None:
        for count in counters:
            count(event)
        if isinstance(event, Alarm):
            _LOG.warning("%s: %s", event.kind, event.detail)

    return observe


def _metrics(telemetry: Telemetry, keeper: LocalKeeper) -> Callable[[], bytes]:
    """What renders the metrics: what was counted, what is, and the tasks of this event loop."""
    telemetry.watch(keeper.report, lambda: len(asyncio.all_tasks()))
    return telemetry.render


def _pool(stack: AsyncExitStack, size: int, name: str) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(size, thread_name_prefix=name)
    stack.callback(pool.shutdown, wait=True)
    return pool
