"""How a Celery worker takes messages from Redis: with a note beside each, from the first moment, of who has it.

Kombu takes a message out (BRPOP), and then writes down that it has it. Whoever is killed in between loses it, and of
what is written nobody knows whose it is. Here both is done in one step as long as messages are waiting; and only where
none is, kombu waits for the next in its own way.
"""

import os
from queue import Empty
from time import time

from celery.utils.log import get_logger
from celery.worker import state as worker_state
from kombu.utils.json import dumps

from chaperone_async.worker import notify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HOLDER = "chaperone"
"""The key, in a message that Redis keeps for a worker, of that worker's id."""
_WORKER = os.environ.get("CHAPERONE_WORKER_ID", "")
# The answer is that of BRPOP. What cannot be understood is handed out all the same, as BRPOP does.
_TAKE = """
local function keep(item)
  local told = cjson.decode(item).properties
  local where = told.delivery_info
  local entry = '[' .. string.sub(item, 1, -2) .. ARGV[1] .. '}, '
    .. cjson.encode(where.exchange) .. ', ' .. cjson.encode(where.routing_key) .. ']'
  redis.call('HSET', KEYS[1], told.delivery_tag, entry)
  redis.call('ZADD', KEYS[2], ARGV[2], told.delivery_tag)
end
for number = 3, #KEYS do
  local item = redis.call('RPOP', KEYS[number])
  if item then
    pcall(keep, item)
    return {KEYS[number], item}
  end
end
return false
"""
logger = get_logger(__name__)


class RedisConsumer:
    """Of one channel, which is that of one connection. `beats`: each answer of Redis is a heartbeat. While the worker
    asks for messages there is one every second; a loop that turns and hears nothing has none."""

    def __init__(self, channel: "Any", *, beats: bool) -> None:
        self._channel, self._beats = channel, beats
        self._wait, self._read, self._append = channel._brpop_start, channel._brpop_read, channel.qos.append  # noqa: SLF001  what is to be done otherwise
        self._restore = channel._do_restore_message  # noqa: SLF001  as above
        self._waiting = False  # there was nothing to be taken
        channel.qos.append = self._note
        channel._do_restore_message = self._give_up  # noqa: SLF001  as above
        channel.handlers["BRPOP"] = self._hear
        if channel.ack_emulation and _can_run_scripts(channel):  # else it is to keep nothing of what was taken
            channel._brpop_start = self._ask  # noqa: SLF001  as above

    def _ask(self, timeout: float | None = None) -> None:
        channel = self._channel
        if self._waiting:
            self._wait(timeout)
            return
        queues = channel._queue_cycle.consume(len(channel.active_queues))  # noqa: SLF001  in kombu's own order
        if not queues:
            return
        names = (channel._q_for_pri(queue, step) for step in channel.priority_steps for queue in queues)  # noqa: SLF001  as above
        keys = [channel.global_keyprefix + name for name in (channel.unacked_key, channel.unacked_index_key, *names)]
        channel._in_poll = connection = channel.client.connection  # noqa: SLF001  so kombu knows that an answer comes
        connection.send_command("EVAL", _TAKE, len(keys), *keys, f", {dumps({HOLDER: _WORKER})[1:-1]}", time())

    def _hear(self, *args: "Any", **options: "Any") -> "Any":
        if self._beats:
            notify.heartbeat()
        try:
            found = self._read(*args, **options)
        except Empty:
            self._waiting = True
            raise
        self._waiting = False
        return found

    def _note(self, message: "Any", delivery_tag: str) -> None:
        message._raw[HOLDER] = _WORKER  # noqa: SLF001  what is written, and nothing else is: kombu reads its own keys only
        self._append(message, delivery_tag)

    def _give_up(self, payload: "dict[str, Any]", *args: "Any", **options: "Any") -> None:
        """What goes back into its queue is nobody's: a worker without this agent would leave the name in it."""
        payload.pop(HOLDER, None)
        self._restore(payload, *args, **options)


def _can_run_scripts(channel: "Any") -> bool:
    try:
        with channel.conn_or_acquire() as client:
            return bool(client.eval("return 1", 0))
    except Exception as error:  # noqa: BLE001  the worker shall work, whatever this Redis does not let us do
        logger.warning("cannot take messages and note it in one step, as this Redis runs no script: %r", error)
        return False


def give_back(consumer: "Any", channel: "Any") -> None:
    """The connection before has broken. What came by it and was not begun Celery has forgotten, since the broker will
    deliver it again: Redis does, but when its visibility timeout is over, unless it could be told at once."""
    from chaperone_async.attendant.celery_redis import RedisQueues

    begun = {request.id for request in worker_state.active_requests}
    try:
        many = RedisQueues(consumer.app, channel).put_back(_WORKER, (), but=begun)
    except consumer.connection_errors:
        raise  # it has broken, too: this all begins again
    except Exception as error:  # noqa: BLE001  as above
        logger.warning("cannot put back what an earlier connection had been given: %r", error)
    else:
        if many:
            logger.warning("put back %d messages that an earlier connection had been given", many)
