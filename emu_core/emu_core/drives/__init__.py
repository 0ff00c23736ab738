"""Rendered street drives in Cityscapes' layout. Needs `mujoco`; no robot needs this package.

`splits` reads the list of drives, `drive` draws one from a seed (`layout`, `street`, `traffic`,
`conditions` and the folder `objects`), `scene` renders it, and `files` writes its frames.
"""
