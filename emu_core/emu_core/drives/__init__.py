"""Rendered street drives in Cityscapes' layout. Needs `mujoco`; no robot needs this package.

- `splits` reads the list of drives, `drive` generates one drive from a seed, `scene` renders it
  with MuJoCo (`rendering` opens MuJoCo), `files` writes its frames, `survey` counts its classes.
- Static parts: `layout` (street coordinates and widths) and `street`, which builds the roads and
  fills an `objects.scenery` with `objects.buildings`, trees, lamps and signs.
- Moving parts: `traffic` places the actors of `objects.vehicles` and `objects.people`;
  `objects.intruders` places one object on the road.
- Materials: `objects.meshes`, `objects.textures` and `objects.shapes`.
- Light, weather and camera: `conditions`.
"""
