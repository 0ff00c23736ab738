"""The demo: replay a bag through the node, score the outputs, write a report."""
