import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors on a busy machine: one thread is faster than two that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
