"""Render a drive with MuJoCo: images, classes and depth from a moving camera.

Needs the package `mujoco` and an OpenGL library (EGL; Debian: libegl1, libgl1-mesa-dri).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from emu_core.drives.conditions import expose, sky_faces, sun_tint
from emu_core.drives.drive import Drive
from emu_core.drives.objects.meshes import Mesh, merge
from emu_core.drives.objects.shapes import Part, Tint
from emu_core.drives.objects.vehicles import SHINY
from emu_core.drives.rendering import off_screen
from emu_core.drives.traffic import Mover
from emu_core.labels import CITYSCAPES, UNKNOWN_OBJECT_ID

with off_screen():
    import mujoco

IDS = dict(zip(CITYSCAPES.names, CITYSCAPES.dataset_ids, strict=True))
IDS["unknown"] = UNKNOWN_OBJECT_ID

_SHADOW_MAP, _SAMPLES = 2048, 4  # side of the shadow map, pixels; samples per pixel
_EXTENT = 100.0  # size of the scene, m
_NEAR, _FAR, _SHADOW_REACH = 0.005, 6.0, 0.6  # clipping planes and shadows, in sizes of the scene
_SUN_AHEAD, _SUN_DISTANCE = 35.0, 80.0  # centre of the shadow map ahead, sun's distance from it, m
_STRIDE = 4.2  # phase by which legs swing per metre walked, rad
_LAMPS_BEHIND, _LAMPS_AHEAD = 8.0, 70.0  # range of the street lamps that light an image, m


@dataclass(frozen=True)
class RenderedFrame:
    """One rendered frame.

    image RGB uint8 (H,W,3); label_ids Cityscapes' labelIds uint8 (H,W); depth float32 (H,W),
    metres along z, +Inf for sky; intruder uint8 (H,W), 255 on the intruder of the drive.
    """

    image: np.ndarray
    label_ids: np.ndarray
    depth: np.ndarray
    intruder: np.ndarray


class Scene(AbstractContextManager["Scene"]):
    """Renderer of a drive. Use it as a context manager, which releases the OpenGL context.

    Raises:
        RenderingError: no OpenGL context can be created.
    """

    def __init__(self, drive: Drive):
        self.drive = drive
        self.movers = [*drive.movers, drive.intruder] if drive.intruder else drive.movers
        self._materials: dict[tuple[str, Tint, float], str] = {}
        self._surfaces: list[tuple[int, float, bool]] = []  # of each geom: id, glow, intruder
        self.model = self._compile()
        self.data = mujoco.MjData(self.model)
        # Where there is no geom the renderer returns −1, which indexes the last entry: the sky.
        ids, glow, intruder = zip(*self._surfaces, (IDS["sky"], 0.0, False), strict=True)
        self._ids_of_geom = np.array(ids, np.uint8)
        self._glow_of_geom = np.array(glow, np.float32)
        self._intruder_of_geom = np.where(intruder, 255, 0).astype(np.uint8)
        with off_screen():
            self._renderer = mujoco.Renderer(self.model, drive.camera.height, drive.camera.width)

    def __exit__(self, *_: object) -> None:
        self._renderer.close()

    def frame(self, time: float, rng: np.random.Generator) -> RenderedFrame:
        """Render the drive at `time` seconds; `rng` draws the sensor noise."""
        lamps = self._lamps(*self._move(time))
        renderer, drive = self._renderer, self.drive
        clean = self._render(shadows=True)
        renderer.enable_depth_rendering()
        depth = self._render(shadows=False)
        renderer.disable_depth_rendering()
        renderer.enable_segmentation_rendering()
        geom = self._render(shadows=False)[..., 0]
        renderer.disable_segmentation_rendering()
        depth = np.where(geom < 0, np.inf, depth).astype(np.float32)
        glow = self._glow_of_geom[geom]
        image = expose(clean, depth, glow, lamps, drive.camera, drive.conditions, rng)
        return RenderedFrame(image, self._ids_of_geom[geom], depth, self._intruder_of_geom[geom])

    def _render(self, shadows: bool) -> np.ndarray:
        self._renderer.update_scene(self.data, camera="camera")
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows
        return self._renderer.render().copy()

    def _compile(self) -> mujoco.MjModel:
        spec = self._spec = mujoco.MjSpec()
        spec.compiler.balanceinertia = True
        camera, visual = self.drive.camera, spec.visual
        visual.global_.offwidth, visual.global_.offheight = camera.width, camera.height
        visual.quality.shadowsize, visual.quality.offsamples = _SHADOW_MAP, _SAMPLES
        visual.map.znear, visual.map.zfar = _NEAR, _FAR
        visual.map.shadowclip = _SHADOW_REACH
        visual.headlight.diffuse, visual.headlight.specular = [0, 0, 0], [0, 0, 0]
        visual.headlight.ambient = [self.drive.conditions.ambient] * 3
        spec.stat.extent, spec.stat.center = _EXTENT, [0, 0, 0]
        self._add_textures()
        self._add_parts(spec.worldbody, self.drive.scenery.parts, "street")
        for i, mover in enumerate(self.movers):
            intruder = mover is self.drive.intruder
            body = spec.worldbody.add_body(name=f"mover{i}", mocap=True)
            self._add_parts(body, mover.actor.parts, f"mover{i}", intruder)
            for k, limb in enumerate(mover.actor.limbs):
                body = spec.worldbody.add_body(name=f"mover{i}limb{k}", mocap=True)
                self._add_parts(body, limb.parts, f"mover{i}limb{k}", intruder)
        self._add_camera_and_sun()
        return spec.compile()

    def _add_textures(self) -> None:
        flat, cube = mujoco.mjtTexture.mjTEXTURE_2D, mujoco.mjtTexture.mjTEXTURE_SKYBOX
        kinds = [(name, flat, image[::-1]) for name, image in self.drive.textures.items()]
        for name, kind, image in [*kinds, ("sky", cube, sky_faces(self.drive.conditions))]:
            height, width = image.shape[:2]
            texture = self._spec.add_texture(name=name, type=kind, width=width, height=height)
            texture.nchannel, texture.data = 3, image.tobytes()

    def _add_parts(
        self, body: mujoco.MjsBody, parts: Iterable[Part], prefix: str, intruder: bool = False
    ) -> None:
        """Add parts to a body; parts with the same surface and class become one mesh."""
        groups: dict[tuple[str, str, Tint, float], list[Mesh]] = defaultdict(list)
        for part in parts:
            groups[part.texture, part.label, part.tint, part.glow].append(part.mesh)
        for k, ((texture, label, tint, glow), meshes) in enumerate(groups.items()):
            name = f"{prefix}.{k}"
            self._add_mesh(name, merge(meshes))
            geom = body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, mass=0)
            geom.material = self._material(texture, tint, glow)
            geom.contype = geom.conaffinity = 0
            self._surfaces.append((IDS[label], glow, intruder))

    def _add_mesh(self, name: str, mesh: Mesh) -> None:
        arrays = {"uservert": mesh.vertices, "usernormal": mesh.normals, "usertexcoord": mesh.uvs}
        arrays = {key: array.astype(np.float32).ravel() for key, array in arrays.items()}
        for key in ("userface", "userfacenormal", "userfacetexcoord"):
            arrays[key] = mesh.faces.astype(np.int32).ravel()
        shell = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
        self._spec.add_mesh(name=name, inertia=shell, **arrays)

    def _material(self, texture: str, tint: Tint, glow: float) -> str:
        """Return the name of a material; the first call adds it."""
        key = (texture, tint, glow)
        if key not in self._materials:
            self._materials[key] = f"material{len(self._materials)}"
            material = self._spec.add_material(name=self._materials[key], rgba=[*tint, 1])
            # At night `expose` adds all light, also the glow.
            material.emission = 0 if self.drive.conditions.night else glow
            shiny = texture in SHINY
            material.specular, material.shininess = (0.35, 0.6) if shiny else (0.02, 0.1)
            material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = texture
        return self._materials[key]

    def _add_camera_and_sun(self) -> None:
        conditions, world = self.drive.conditions, self._spec.worldbody
        eye, follow = (world.add_body(name=name, mocap=True) for name in ("eye", "sun"))
        eye.add_camera(name="camera", fovy=self.drive.camera.fovy)
        if conditions.sun > 0:
            direction = conditions.sun_direction
            light = conditions.sun * sun_tint(conditions.sun_warmth)
            sun = follow.add_light(castshadow=True, pos=direction * _SUN_DISTANCE, dir=-direction)
            sun.diffuse, sun.specular = light, 0.4 * light
            # A weak light of the sky makes surfaces in the shade visible.
            sky = follow.add_light(castshadow=False, pos=[0, 0, 50], dir=[0.15, 0.1, -1])
            sky.diffuse, sky.specular = [0.16] * 3, [0, 0, 0]
            for lamp in (sun, sky):
                lamp.type, lamp.ambient = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, [0, 0, 0]

    def _move(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Move everything to its place; return the position and rotation (3,3) of the camera."""
        drive, path, camera = self.drive, self.drive.scenery.path, self.drive.camera
        s = drive.ego.s(time)
        eye = path.world(s, drive.ego.d, camera.mount_height)
        yaw, pitch = float(path.yaw(s)) + camera.yaw, path.pitch(s) + camera.pitch
        turn = _rotation(yaw, pitch, camera.roll)
        self._pose("eye", eye, _camera_quat(turn))
        self._pose("sun", path.world(s + _SUN_AHEAD, 0), np.array([1.0, 0, 0, 0]))
        for i, mover in enumerate(self.movers):
            self._move_actor(f"mover{i}", mover, time)
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        return eye, turn

    def _move_actor(self, name: str, mover: Mover, time: float) -> None:
        path = self.drive.scenery.path
        s, d = mover.at(time)
        heading = float(path.yaw(s)) + mover.heading
        grade = path.pitch(s) * np.cos(mover.heading)
        place = path.world(s, d, mover.z)
        self._pose(name, place, _quat(heading, grade))
        stride = np.hypot(mover.speed, mover.drift) * _STRIDE
        cos, sin = np.cos(heading), np.sin(heading)
        for k, limb in enumerate(mover.actor.limbs):
            x, y, z = limb.pivot
            pivot = place + (cos * x - sin * y, sin * x + cos * y, z)
            angle = limb.swing * np.sin(limb.phase + stride * time)
            self._pose(f"{name}limb{k}", pivot, _quat(heading, angle))

    def _pose(self, name: str, position: np.ndarray, quat: np.ndarray) -> None:
        index = self.model.body(name).mocapid[0]
        self.data.mocap_pos[index], self.data.mocap_quat[index] = position, quat

    def _lamps(self, eye: np.ndarray, turn: np.ndarray) -> np.ndarray:
        """Return the street lamps near the camera, in optical coordinates (N,3); none by day."""
        lamps = self.drive.scenery.lamps
        if not self.drive.conditions.night or not lamps:
            return np.zeros((0, 3))
        local = (np.array(lamps) - eye) @ turn  # forward, left, up
        optical = np.stack([-local[:, 1], -local[:, 2], local[:, 0]], 1)
        return optical[(optical[:, 2] > -_LAMPS_BEHIND) & (optical[:, 2] < _LAMPS_AHEAD)]


def _quat(yaw: float, pitch: float) -> np.ndarray:
    """Compute the quaternion (w,x,y,z) of a rotation by pitch about y, then by yaw about z."""
    cy, sy, cp, sp = np.cos(yaw / 2), np.sin(yaw / 2), np.cos(pitch / 2), np.sin(pitch / 2)
    return np.array([cy * cp, -sy * sp, cy * sp, sy * cp])


def _rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Compute the rotation from body (x forward, y left, z up) to world; pitch > 0 looks down."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    rz = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    ry = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    rx = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return rz @ ry @ rx


def _camera_quat(turn: np.ndarray) -> np.ndarray:
    """Compute the quaternion of a camera that looks along body x (MuJoCo's look along −z)."""
    optical = np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]], float)  # columns: right, up, back
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, (turn @ optical).ravel())
    return quat
