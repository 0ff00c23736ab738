"""One slot per camera, the newest wins, all get their turn, what is replaced is told."""

import threading

from emu_perception.mailbox import Mailboxes

TIMEOUT_S = 10.0


def one():
    return Mailboxes(["a"])


def test_the_newest_item_wins_and_the_others_are_told():
    mailboxes = one()
    assert [mailboxes.put("a", item) for item in (1, 2, 3)] == [False, True, True]
    assert mailboxes.get() == ("a", 3)


def test_an_item_is_handed_out_once():
    mailboxes = one()
    mailboxes.put("a", 1)
    assert mailboxes.get() == ("a", 1)
    assert not mailboxes.put("a", 2)
    assert mailboxes.get() == ("a", 2)


def test_keys_that_have_items_take_turns():
    mailboxes = Mailboxes(["a", "b", "c"])
    served = []
    for number in range(6):
        mailboxes.put("a", number)
        mailboxes.put("c", number)
        served.append(mailboxes.get())
    assert served == [("a", 0), ("c", 1), ("a", 2), ("c", 3), ("a", 4), ("c", 5)]


def test_who_was_served_longest_ago_is_next_even_after_a_pause():
    mailboxes = Mailboxes(["a", "b"])
    mailboxes.put("a", 1)
    mailboxes.get()
    mailboxes.put("a", 2)
    mailboxes.put("b", 3)
    assert mailboxes.get() == ("b", 3)


def test_get_waits_for_an_item_from_another_thread():
    mailboxes, got = one(), []
    reader = threading.Thread(target=lambda: got.append(mailboxes.get()), daemon=True)
    reader.start()
    mailboxes.put("a", 1)
    reader.join(TIMEOUT_S)
    assert got == [("a", 1)]


def test_close_wakes_a_reader_that_waits():
    mailboxes, got = one(), []
    reader = threading.Thread(target=lambda: got.append(mailboxes.get()), daemon=True)
    reader.start()
    mailboxes.close()
    reader.join(TIMEOUT_S)
    assert got == [None]


def test_what_waits_at_the_end_is_told_and_what_comes_later_is_lost():
    mailboxes = Mailboxes(["a", "b"])
    mailboxes.put("b", 1)
    assert mailboxes.close() == ["b"]
    assert mailboxes.put("a", 2)
    assert mailboxes.get() is None


def test_every_item_of_many_threads_is_taken_or_told():
    mailboxes, taken, lost = Mailboxes("abcd"), [], []

    def take():
        while (turn := mailboxes.get()) is not None:
            taken.append(turn[1])

    def put(key):
        lost.append(sum(mailboxes.put(key, object()) for _ in range(2000)))

    reader = threading.Thread(target=take, daemon=True)
    writers = [threading.Thread(target=put, args=(key,), daemon=True) for key in "abcd"]
    for thread in (reader, *writers):
        thread.start()
    for writer in writers:
        writer.join(TIMEOUT_S)
    left = mailboxes.close()
    reader.join(TIMEOUT_S)
    assert not reader.is_alive()
    assert len(set(taken)) == len(taken)
    assert len(taken) + sum(lost) + len(left) == 8000
