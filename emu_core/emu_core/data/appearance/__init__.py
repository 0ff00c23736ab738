"""Random changes of how an image looks: light, weather, lens, sensor, other frames.

`effects` changes one image. `partners` combines a crop with another frame of a mixture.
"""
