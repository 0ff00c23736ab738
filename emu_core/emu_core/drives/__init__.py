"""Rendered street drives in Cityscapes' layout. Needs `mujoco`; nothing at run time needs this.

`textures` and `meshes` are the materials, `street` what stands still, `actors` and `traffic` what
moves, `conditions` light, weather and camera, `scene` the renderer, `drive` one drive from a seed.
"""
