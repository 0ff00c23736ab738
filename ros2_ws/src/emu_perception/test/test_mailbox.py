"""One slot, the newest wins, what it replaces is counted."""

import threading

from emu_perception.mailbox import Mailbox

TIMEOUT_S = 10.0


def test_the_newest_item_wins_and_the_others_are_counted():
    mailbox = Mailbox()
    for item in "abc":
        mailbox.put(item)
    assert mailbox.get() == "c"
    assert mailbox.dropped == 2


def test_an_item_is_handed_out_once():
    mailbox = Mailbox()
    mailbox.put("a")
    assert mailbox.get() == "a"
    mailbox.put("b")
    assert mailbox.get() == "b"
    assert mailbox.dropped == 0


def test_get_waits_for_an_item_from_another_thread():
    mailbox, got = Mailbox(), []
    reader = threading.Thread(target=lambda: got.append(mailbox.get()), daemon=True)
    reader.start()
    mailbox.put("a")
    reader.join(TIMEOUT_S)
    assert got == ["a"]


def test_close_wakes_a_reader_that_waits():
    mailbox, got = Mailbox(), []
    reader = threading.Thread(target=lambda: got.append(mailbox.get()), daemon=True)
    reader.start()
    mailbox.close()
    reader.join(TIMEOUT_S)
    assert got == [None]


def test_what_waits_or_comes_at_the_end_counts_as_dropped():
    mailbox = Mailbox()
    mailbox.put("a")
    mailbox.close()
    mailbox.put("b")
    assert mailbox.get() is None
    assert mailbox.dropped == 2


def test_every_item_of_many_threads_is_taken_or_counted():
    mailbox, taken = Mailbox(), []

    def take():
        while (item := mailbox.get()) is not None:
            taken.append(item)

    reader = threading.Thread(target=take, daemon=True)
    writers = [
        threading.Thread(target=lambda: [mailbox.put(object()) for _ in range(2000)], daemon=True)
        for _ in range(4)
    ]
    for thread in (reader, *writers):
        thread.start()
    for writer in writers:
        writer.join(TIMEOUT_S)
    mailbox.close()
    reader.join(TIMEOUT_S)
    assert not reader.is_alive()
    assert len(set(taken)) == len(taken)
    assert len(taken) + mailbox.dropped == 8000
