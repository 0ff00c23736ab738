"""Rendered street drives in Cityscapes' layout. Needs `mujoco`; nothing at run time needs this.

Materials: `meshes` and `textures`, joined in a `part`. What stands still: `layout` (street
coordinates) and `street`, which puts `plots`, `buildings`, `vegetation` and `furniture` into a
`scenery`. What moves: an `actor` from `vehicles`, `people` or `strangers`, placed by `traffic` and
`intruder`. Light, weather and camera: `conditions`. `drive` draws all of it from one seed, `scene`
renders it with MuJoCo, `files` writes it. `splits` lists drives, `survey` tells what they hold.
"""
