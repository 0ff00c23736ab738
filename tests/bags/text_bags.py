"""Bags of texts, and files as rosbag2 writes them, for the tests of this folder."""

import sqlite3

from ruamel.yaml import YAML

from emu_core.bags.reader import open_bag
from emu_core.bags.types import typestore
from emu_core.bags.writer import BagWriter, offered

TEXT = "std_msgs/msg/String"
STORE = typestore()
STORAGES = ("mcap", "sqlite3")
# What rosbag2 stores for a publisher whose history DDS does not announce: ints up to version 8.
FOREVER = "{sec: 9223372036, nsec: 854775807}"
QOS_NUMBERS = f"""\
- {{history: 3, depth: 0, reliability: 1, durability: 1, deadline: {FOREVER}, lifespan: {FOREVER},
   liveliness: 1, liveliness_lease_duration: {FOREVER}, avoid_ros_namespace_conventions: false}}"""
QOS_WORDS = (
    QOS_NUMBERS.replace("history: 3", "history: unknown")
    .replace("reliability: 1", "reliability: reliable")
    .replace("durability: 1", "durability: transient_local")
    .replace("liveliness: 1", "liveliness: automatic")
)


def text(data):
    """Raw CDR of a String."""
    return bytes(STORE.serialize_cdr(STORE.types[TEXT](data), TEXT))


def expected(count):
    """Times and texts of `write`: "0", "1", … at 0, 10, … ns."""
    return [(10 * index, str(index)) for index in range(count)]


def write(path, count, storage="mcap", flush=False):
    """Write a bag of texts on /text; with `flush`, each message into an mcap chunk of its own."""
    with BagWriter(path, storage) as writer:
        writer.add_topic("/text", TEXT, [offered(latched=True, depth=3)])
        for time_ns, data in expected(count):
            writer.write("/text", time_ns, text(data))
            if flush:
                writer.flush()
    return path


def read(path, **options):
    """Times and texts of a bag."""
    with open_bag(path, **options) as bag:
        return [(message.time_ns, bag.decode(message).data) for message in bag.messages()]


def insert(database, texts):
    """Add messages to a data file of `rosbag2_sqlite`."""
    rows = [(time_ns, text(data)) for time_ns, data in texts]
    database.executemany("INSERT INTO messages VALUES(NULL, 1, ?, ?)", rows)


def rosbag2_sqlite(file, texts):
    """Write a data file with the tables of rosbag2 in Foxy to Humble, with sqlite3 alone."""
    with sqlite3.connect(file) as database:
        database.executescript(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,"
            " serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL);"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL,"
            " timestamp INTEGER NOT NULL, data BLOB NOT NULL);"
        )
        row = (TEXT, QOS_NUMBERS)
        database.execute("INSERT INTO topics VALUES(1, '/text', ?, 'cdr', ?)", row)
        insert(database, texts)
    database.close()


def rosbag2_metadata(folder, version, names, qos=QOS_NUMBERS):
    """Write metadata.yaml with the keys that rosbag2 writes in this version."""
    topic = {"name": "/text", "type": TEXT, "serialization_format": "cdr"}
    # Up to version 8 a YAML document in a string.
    topic["offered_qos_profiles"] = qos if version < 9 else YAML(typ="safe").load(qos)
    information = {
        "version": version,
        "storage_identifier": "sqlite3",
        "duration": {"nanoseconds": 10},
        "starting_time": {"nanoseconds_since_epoch": 0},
        "message_count": 2,
        "topics_with_message_count": [{"topic_metadata": topic, "message_count": 2}],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": names,
        **({"files": []} if version >= 5 else {}),
        **({"custom_data": None, "ros_distro": "jazzy"} if version >= 8 else {}),
    }
    YAML().dump({"rosbag2_bagfile_information": information}, folder / "metadata.yaml")
